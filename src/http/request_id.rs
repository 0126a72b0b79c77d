//! The id that names a request in its answer, in problems and in the log.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tracing::Span;

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_LENGTH: usize = 128;

/// Takes the caller's id where it is sane, makes one where not, and answers it always.
pub(super) fn layered(router: Router) -> Router {
    router
        .layer(PropagateRequestIdLayer::new(X_REQUEST_ID))
        .layer(SetRequestIdLayer::new(X_REQUEST_ID, MakeRequestUuid))
        .layer(from_fn(drop_insane))
}

async fn drop_insane(mut request: Request, next: Next) -> Response {
    if !is_sane(request.headers()) {
        request.headers_mut().remove(X_REQUEST_ID);
    }
    next.run(request).await
}

/// One header of 1 to 128 characters that need no escaping in a log or a shell.
fn is_sane(headers: &HeaderMap) -> bool {
    let mut ids = headers.get_all(X_REQUEST_ID).iter();
    let (Some(id), None) = (ids.next(), ids.next()) else {
        return false;
    };
    (1..=MAX_LENGTH).contains(&id.len())
        && id
            .as_bytes()
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
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
