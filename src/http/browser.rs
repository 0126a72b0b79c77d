//! Response headers for browsers: cross-origin access and security.

use std::time::Duration;

use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LINK, REFERRER_POLICY, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::response::Response;
use tower_http::cors::CorsLayer;

use crate::config::CorsSettings;
use crate::request_context::X_REQUEST_ID;

const PREFLIGHT_MAX_AGE: Duration = Duration::from_mins(10);

/// Headers of responses that are data (OWASP REST Security Cheat Sheet). Pages set their own values.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 5] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// Headers that a page may send: those that the service reads, and those that browser libraries for JSON and for
/// traces add to every request.
const ALLOWED_HEADERS: [HeaderName; 7] = [
    AUTHORIZATION,
    CONTENT_TYPE,
    X_REQUEST_ID,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
    HeaderName::from_static("sentry-trace"),
];

/// Returns the layer that permits the configured origins to read responses, including errors: otherwise a page
/// cannot see why a request failed. It permits no credentials: a page sends a token itself, in a header.
pub(super) fn cors_layer(settings: &CorsSettings) -> Option<CorsLayer> {
    let origins = settings.cors_allowed_origins.clone()?;
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers(ALLOWED_HEADERS)
        .expose_headers([LINK, RETRY_AFTER, X_REQUEST_ID])
        .max_age(PREFLIGHT_MAX_AGE);
    Some(layer)
}

/// Adds the security headers that the response lacks.
pub(super) fn add_security_headers(response: &mut Response) {
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.entry(name).or_insert(value);
    }
}
