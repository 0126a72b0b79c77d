//! The id that names a request in its answer, in problems and in the log.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use tower_http::request_id::{MakeRequestId, MakeRequestUuid, RequestId};
use tracing::Span;

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_LENGTH: usize = 128;

/// Takes the caller's id where it is sane, makes one where not.
pub(super) fn identify(request: &mut Request) {
    let id = match sane(request.headers()) {
        Some(id) => Some(RequestId::new(id.clone())),
        None => MakeRequestUuid.make_request_id(request),
    };
    if let Some(id) = id {
        request.extensions_mut().insert(id);
    }
}

/// Tells the id in the answer.
pub(super) fn answer(request_id: Option<&RequestId>, response: &mut Response) {
    if let Some(id) = request_id {
        response
            .headers_mut()
            .insert(X_REQUEST_ID, id.header_value().clone());
    }
}

/// The one header of 1 to 128 characters that need no escaping in a log or a shell.
fn sane(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut ids = headers.get_all(X_REQUEST_ID).iter();
    let (Some(id), None) = (ids.next(), ids.next()) else {
        return None;
    };
    let is_sane = (1..=MAX_LENGTH).contains(&id.len())
        && id
            .as_bytes()
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte));
    is_sane.then_some(id)
}

/// The request's id, as its answer and the log have it.
pub(super) fn text(request_id: Option<&RequestId>) -> &str {
    request_id
        .and_then(|id| id.header_value().to_str().ok())
        .unwrap_or_default()
}

/// The same, for a line that stands in no span: a log of warnings alone has none, and tells the id by itself.
pub(super) fn without_span(request_id: Option<&RequestId>) -> Option<&str> {
    Span::current().is_disabled().then(|| text(request_id))
}
