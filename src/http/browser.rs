//! What browsers are told about answers: which web pages may read them, and to keep and guess nothing.

use std::time::Duration;

use axum::Router;
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, LINK, REFERRER_POLICY, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::response::Response;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use super::request_id::X_REQUEST_ID;
use crate::config::{AllowedOrigins, CorsSettings};

/// So long a browser need not ask again whether it may ask.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_mins(10);

/// For answers that are data and no pages (OWASP REST Security Cheat Sheet). What is a page says itself
/// what it needs.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// Lets web pages read what is answered, where `settings` name whose; refusals too, since a page that may not
/// read one cannot tell why.
pub(super) fn cross_origin(router: Router, settings: &CorsSettings) -> Router {
    match &settings.cors_allowed_origins {
        None => router,
        Some(AllowedOrigins::Any) => router.layer(cors().allow_origin(Any)),
        Some(AllowedOrigins::Named(origins)) => {
            router.layer(cors().allow_origin(AllowOrigin::list(origins.iter().cloned())))
        }
    }
}

/// Without credentials: a token is no cookie, and a page that has one sends it itself.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers([AUTHORIZATION, X_REQUEST_ID])
        .expose_headers([LINK, RETRY_AFTER, X_REQUEST_ID])
        .max_age(PREFLIGHT_MAX_AGE)
}

/// Adds the headers that the answer does not have yet.
pub(super) fn add_headers(response: &mut Response) {
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(value);
    }
}
