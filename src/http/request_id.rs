//! Request ids, in responses, problems and the log.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use tower_http::request_id::{MakeRequestId, MakeRequestUuid, RequestId};
use tracing::Span;

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_ID_BYTES: usize = 128;

/// Assigns the client's id to the request if it is valid, otherwise a new one.
pub(super) fn assign(request: &mut Request) {
    let id = match valid_id(request.headers()) {
        Some(id) => Some(RequestId::new(id.clone())),
        None => MakeRequestUuid.make_request_id(request),
    };
    if let Some(id) = id {
        request.extensions_mut().insert(id);
    }
}

pub(super) fn set_header(response: &mut Response, request_id: Option<&RequestId>) {
    if let Some(id) = request_id {
        response
            .headers_mut()
            .insert(X_REQUEST_ID, id.header_value().clone());
    }
}

/// Returns the client's id if there is exactly one, of characters that need no escaping in a log or a
/// shell.
fn valid_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut ids = headers.get_all(X_REQUEST_ID).iter();
    let (Some(id), None) = (ids.next(), ids.next()) else {
        return None;
    };
    let is_valid = (1..=MAX_ID_BYTES).contains(&id.len())
        && id
            .as_bytes()
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte));
    is_valid.then_some(id)
}

pub(super) fn as_str(request_id: &RequestId) -> &str {
    request_id.header_value().to_str().unwrap_or_default()
}

/// Returns the id for a log line outside any span. A log of warnings alone has no spans; inside one, the
/// span has the id.
pub(super) fn outside_span(request_id: Option<&RequestId>) -> Option<&str> {
    request_id.filter(|_| Span::current().is_disabled()).map(as_str)
}
