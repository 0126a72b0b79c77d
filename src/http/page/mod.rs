//! The web page, the API document and its viewer. The files are compiled in and load nothing from other
//! hosts.

use axum::Router;
use axum::body::Bytes;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::openapi;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JSON: &str = "application/json";
const SVG: &str = "image/svg+xml";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Restricts the pages to this origin. Text cannot become markup or a script.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Returns the routes. The API document describes the probes if `has_probes`.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(has_probes: bool) -> Router<S> {
    let files = [
        ("/", HTML, include_str!("index.html")),
        ("/docs", HTML, include_str!("docs.html")),
        ("/assets/page.css", CSS, include_str!("page.css")),
        ("/assets/page.js", JAVASCRIPT, include_str!("page.js")),
        ("/assets/api.js", JAVASCRIPT, include_str!("api.js")),
        ("/assets/numbers.js", JAVASCRIPT, include_str!("numbers.js")),
        ("/assets/docs.css", CSS, include_str!("docs.css")),
        ("/assets/docs.js", JAVASCRIPT, include_str!("docs.js")),
        ("/assets/icon.svg", SVG, include_str!("icon.svg")),
    ];
    let document = file(JSON, openapi::render(has_probes));
    files
        .into_iter()
        .fold(Router::new(), |router, (path, content_type, content)| {
            router.route(path, file(content_type, content))
        })
        .route("/openapi.json", document)
}

/// Returns a handler that serves `content`, or 304 if the client has it (RFC 9110, section 13.1.2).
fn file<S: Clone + Send + Sync + 'static>(
    content_type: &'static str,
    content: impl Into<Bytes>,
) -> MethodRouter<S> {
    let content = content.into();
    // Weak, because the compressed content has the same tag.
    let etag = format!("W/\"{}\"", HEXLOWER.encode(&Sha256::digest(&content)));
    get(async move |request_headers: HeaderMap| {
        let headers = [
            (ETAG, etag.clone()),
            (CACHE_CONTROL, "no-cache".to_owned()), // the browser revalidates it each time
            (CONTENT_SECURITY_POLICY, CONTENT_POLICY.to_owned()),
        ];
        if has_etag(&request_headers, &etag) {
            (StatusCode::NOT_MODIFIED, headers).into_response()
        } else {
            (headers, [(CONTENT_TYPE, content_type)], content.clone()).into_response()
        }
    })
}

/// Returns the tag for a weak comparison.
fn opaque_tag(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// Returns whether `If-None-Match` contains the tag.
fn has_etag(request_headers: &HeaderMap, etag: &str) -> bool {
    request_headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|tags| tags.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || opaque_tag(tag) == opaque_tag(etag))
}
