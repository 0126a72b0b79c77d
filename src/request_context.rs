//! The request that a task handles: its log lines and problems contain the request's id.

use std::future::Future;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use uuid::Uuid;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_ID_BYTES: usize = 128;

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct RequestContext {
    pub(crate) uri: Uri,
    pub(crate) request_id: RequestId,
    /// `None` if no traces are exported.
    pub(crate) trace_id: Option<String>,
}

impl RequestContext {
    /// Runs `future` as work for this request. A spawned task needs a scope of its own.
    pub(crate) async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// Returns the request that the current task handles.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }
}

/// Returns the id of the request that the current task handles, for a log line.
pub(crate) fn current_request_id() -> Option<String> {
    CURRENT
        .try_with(|context| context.request_id.as_str().to_owned())
        .ok()
}

/// The id of a request: ASCII letters, digits and `-_.:`, which need no escaping in a log or a shell.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// Returns the client's id if it sent exactly one that is valid, otherwise a new one.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let mut ids = headers.get_all(X_REQUEST_ID).iter();
        match (ids.next(), ids.next()) {
            (Some(id), None) if is_valid(id.as_bytes()) => Self(id.clone()),
            _ => Self::new(),
        }
    }

    fn new() -> Self {
        let mut buffer = Uuid::encode_buffer();
        let id = Uuid::new_v4().hyphenated().encode_lower(&mut buffer);
        // A UUID is a valid header.
        Self(HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("")))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl From<RequestId> for HeaderValue {
    fn from(id: RequestId) -> Self {
        id.0
    }
}

fn is_valid(id: &[u8]) -> bool {
    (1..=MAX_ID_BYTES).contains(&id.len())
        && id
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
}
