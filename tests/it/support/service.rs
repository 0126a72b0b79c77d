//! The service in process: the complete router, without a socket.

use std::num::NonZeroUsize;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use tenant_orders::authentication::Authenticator;
use tenant_orders::config::{CorsSettings, MetricsSettings, RequestSettings};
use tenant_orders::http;
use tenant_orders::telemetry::Metrics;
use tenant_orders::users::UserDirectory;
use tower::ServiceExt;

use super::TestDatabase;

#[derive(Clone)]
pub(crate) struct Service {
    router: Router,
}

impl Service {
    pub(crate) fn new(database: UserDirectory) -> Self {
        Self::with(database, Duration::from_secs(10), 1024)
    }

    pub(crate) fn with(
        database: UserDirectory,
        request_timeout: Duration,
        max_concurrent_requests: usize,
    ) -> Self {
        let settings = RequestSettings {
            request_timeout,
            max_concurrent_requests: NonZeroUsize::new(max_concurrent_requests).unwrap(),
            slow_request_threshold: request_timeout,
            server_timing: false,
        };
        Self::set_up(database, &settings, &MetricsSettings::default())
    }

    /// Returns a service with at most `metrics_tenants` tenants in its metrics.
    pub(crate) fn with_metrics_of(metrics_tenants: usize, database: UserDirectory) -> Self {
        let settings = RequestSettings {
            request_timeout: Duration::from_secs(10),
            max_concurrent_requests: NonZeroUsize::new(1024).unwrap(),
            slow_request_threshold: Duration::from_secs(1),
            server_timing: false,
        };
        Self::set_up(database, &settings, &MetricsSettings { metrics_tenants })
    }

    fn set_up(database: UserDirectory, requests: &RequestSettings, metrics: &MetricsSettings) -> Self {
        let metrics = Metrics::new(database.clone(), metrics);
        Self {
            router: http::router(database, metrics, requests, None, &CorsSettings::default(), true),
        }
    }

    /// Returns a service with authentication or CORS.
    pub(crate) fn guarded(
        database: UserDirectory,
        authenticator: Option<Authenticator>,
        cors: &CorsSettings,
    ) -> Self {
        let settings = RequestSettings {
            request_timeout: Duration::from_secs(10),
            max_concurrent_requests: NonZeroUsize::MIN,
            slow_request_threshold: Duration::from_secs(1),
            server_timing: false,
        };
        let metrics = Metrics::new(database.clone(), &MetricsSettings::default());
        Self {
            router: http::router(database, metrics, &settings, authenticator, cors, true),
        }
    }

    pub(crate) fn over(database: &TestDatabase) -> Self {
        Self::new(database.database())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn request(&self, method: Method, path: &str) -> Answer {
        self.send(
            Request::builder()
                .method(method)
                .uri(path)
                .body(Body::empty())
                .unwrap(),
        )
        .await
    }

    /// Sends the request, with a `Host` if it has none, as hyper's clients do.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Answer {
        let host = HeaderValue::from_static("localhost");
        request.headers_mut().entry("host").or_insert(host);
        let response = self.router.clone().oneshot(request).await.unwrap();
        Answer::read(response).await.unwrap()
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Reads a complete response.
    pub(crate) async fn read(response: Response<Body>) -> Result<Self, axum::Error> {
        let (parts, body) = response.into_parts();
        Ok(Self {
            status: parts.status,
            headers: parts.headers,
            body: to_bytes(body, usize::MAX).await?.to_vec(),
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Returns the address of the next page, resolved against the `path` of this one (RFC 3986, section 5.2).
    pub(crate) fn next_page(&self, path: &str) -> Option<String> {
        let link = self.header("link")?;
        let query = link.strip_prefix("<?").unwrap().strip_suffix(r#">; rel="next""#);
        let (path, _) = path.split_once('?').unwrap_or((path, ""));
        Some(format!("{path}?{}", query.unwrap()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Asserts that the status is 200 and returns the body.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        self.json()
    }

    /// Asserts that this is a complete problem document and returns the body.
    pub(crate) fn problem(&self, status: u16, name: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let body = self.json();
        assert_eq!(body["status"], status);
        assert_eq!(body["type"], format!("/problems/{name}"));
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id"));
        for member in ["title", "detail", "instance"] {
            assert!(!body[member].as_str().unwrap().is_empty(), "{member}");
        }
        assert_eq!(
            self.header("retry-after").is_some(),
            matches!(
                name,
                "overloaded" | "tenant-overloaded" | "database-unavailable" | "authentication-unavailable"
            )
        );
        body
    }
}

/// Returns the whole response for a snapshot. The request id differs from run to run, so it is redacted.
pub(crate) fn snapshot(answer: &Answer) -> Value {
    let request_id = answer.header("x-request-id").unwrap();
    let headers: Map<_, _> = answer
        .headers
        .keys()
        .filter(|name| *name != "content-length")
        .map(|name| (name.to_string(), answer.header(name.as_str()).into()))
        .collect();
    let response = json!({ "status": answer.status.as_u16(), "headers": headers, "body": answer.json() });
    let redacted = response.to_string().replace(request_id, "[request id]");
    serde_json::from_str(&redacted).unwrap()
}

/// Asserts that a statement behind a lock times out, and that the next one succeeds.
pub(crate) async fn assert_statements_time_out(service: &Service, database: &TestDatabase) {
    for table in ["client1.items", "public.users"] {
        let lock = database.lock(table).await;
        service.get("/users/1/orders").await.problem(504, "timeout");
        lock.release().await;
        assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60000.00");
    }
}
