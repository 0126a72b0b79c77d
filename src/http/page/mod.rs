//! What is there for people: the page, and the document of the API. All of it is in the program, and
//! none of it asks another host for anything.

use axum::Router;
use axum::body::Bytes;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::openapi::openapi;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Nothing but what comes from here, and no text can become markup or a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// The page, and the document of the API with a page that shows it.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", file(HTML, include_str!("index.html")))
        .route("/docs", file(HTML, include_str!("docs.html")))
        .route("/openapi.json", file("application/json", openapi()))
        .route("/assets/page.css", file(CSS, include_str!("page.css")))
        .route("/assets/page.js", file(JAVASCRIPT, include_str!("page.js")))
        .route("/assets/answer.js", file(JAVASCRIPT, include_str!("answer.js")))
        .route("/assets/numbers.js", file(JAVASCRIPT, include_str!("numbers.js")))
        .route("/assets/docs.css", file(CSS, include_str!("docs.css")))
        .route("/assets/docs.js", file(JAVASCRIPT, include_str!("docs.js")))
        .route(
            "/assets/icon.svg",
            file("image/svg+xml", include_str!("icon.svg")),
        )
}

/// Answers `content`, or that the client has it already (RFC 9110, section 13.1.2).
fn file<S: Clone + Send + Sync + 'static>(
    content_type: &'static str,
    content: impl Into<Bytes>,
) -> MethodRouter<S> {
    let content = content.into();
    let tag = format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(&content)));
    get(async move |request: HeaderMap| {
        let headers = [
            (ETAG, tag.clone()),
            (CACHE_CONTROL, "no-cache".to_owned()), // asks each time whether it is still the same
            (CONTENT_SECURITY_POLICY, POLICY.to_owned()),
        ];
        if is_known(&request, &tag) {
            (StatusCode::NOT_MODIFIED, headers).into_response()
        } else {
            (headers, [(CONTENT_TYPE, content_type)], content.clone()).into_response()
        }
    })
}

/// Whether the client has what `tag` stands for.
fn is_known(request: &HeaderMap, tag: &str) -> bool {
    request
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|tags| tags.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}
