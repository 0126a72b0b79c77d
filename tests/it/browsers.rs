//! Response headers for browsers: cross-origin access and security.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request};
use insta::{allow_duplicates, assert_json_snapshot};
use nix::sys::signal::Signal;
use tenant_orders::authentication::Authenticator;
use tenant_orders::config::{AuthenticationSettings, CorsSettings};
use tower_http::cors::AllowOrigin;

use crate::support::client::{self, Connection};
use crate::support::{Answer, Service, ServiceProcess, TestDatabase, finished, wait_until};

const PATH: &str = "/users/1/orders";
const SHOP: &str = "https://shop.example.com";
const OTHER: &str = "http://localhost:3000";

fn two_origins() -> CorsSettings {
    let origins = [SHOP, OTHER].map(HeaderValue::from_static);
    CorsSettings {
        cors_allowed_origins: Some(origins.into()),
    }
}

fn request_from_page(method: Method, path: &str, origin: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    request.header("origin", origin).body(Body::empty()).unwrap()
}

/// Returns the headers for a snapshot, with the request id redacted.
fn headers_of(answer: &Answer) -> BTreeMap<&str, &str> {
    answer
        .headers
        .keys()
        .map(|name| match name.as_str() {
            "x-request-id" => ("x-request-id", "[request id]"),
            name => (name, answer.header(name).unwrap()),
        })
        .collect()
}

fn preflight(origin: &str) -> Request<Body> {
    let mut request = request_from_page(Method::OPTIONS, PATH, origin);
    for (name, value) in [
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "authorization"),
    ] {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    request
}

/// Asserts that a page of this origin can read the response.
fn assert_readable(answer: &Answer, origin: &str) {
    assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    let vary = answer.header("vary").unwrap().to_lowercase();
    assert!(vary.contains("origin"), "{vary}");
}

#[tokio::test]
async fn only_configured_origins_can_read_responses() {
    let service = Service::guarded(TestDatabase::demo().await.database(), None, &two_origins());
    for origin in [SHOP, OTHER] {
        let answer = service.send(request_from_page(Method::GET, PATH, origin)).await;
        answer.ok();
        assert_readable(&answer, origin);
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert_eq!(exposed, "link,retry-after,x-request-id");
    }
    for foreign in [
        "https://evil.example.com",
        "https://shop.example.com.evil.com",
        "http://shop.example.com",
        "https://shop.example.com:8443",
        "null",
        "*",
    ] {
        for request in [request_from_page(Method::GET, PATH, foreign), preflight(foreign)] {
            let answer = service.send(request).await;
            assert_eq!(answer.header("access-control-allow-origin"), None, "{foreign}");
        }
    }
}

#[tokio::test]
async fn no_origin_can_read_responses_by_default() {
    let service = Service::over(&TestDatabase::demo().await);
    let answer = service.send(request_from_page(Method::GET, PATH, SHOP)).await;
    answer.ok();
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let answer = service.send(preflight(SHOP)).await;
    answer.problem(405, "method-not-allowed");
}

#[tokio::test]
async fn wildcard_allows_all_origins_without_credentials() {
    let any = CorsSettings {
        cors_allowed_origins: Some(AllowOrigin::any()),
    };
    let service = Service::guarded(TestDatabase::demo().await.database(), None, &any);
    for request in [request_from_page(Method::GET, PATH, SHOP), preflight(SHOP)] {
        let answer = service.send(request).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
}

/// The service has one permit, which another request holds.
#[tokio::test]
async fn preflights_need_no_token_and_errors_are_readable() {
    let database = TestDatabase::demo().await;
    let secret = "a secret of the tests, long enough";
    let settings = AuthenticationSettings {
        jwt_secret: Some(secret.into()),
        ..AuthenticationSettings::default()
    };
    let authenticator = Authenticator::open(&settings).await.unwrap();
    let guarded = Service::guarded(database.database(), authenticator, &two_origins());
    let answer = guarded.send(request_from_page(Method::GET, PATH, SHOP)).await;
    answer.problem(401, "unauthorized");
    assert_readable(&answer, SHOP);
    let answer = guarded.send(preflight(SHOP)).await;
    assert_eq!(answer.status, 200);
    assert_readable(&answer, SHOP);
    assert_json_snapshot!(headers_of(&answer), @r#"
    {
      "access-control-allow-headers": "authorization,content-type,x-request-id,traceparent,tracestate,baggage,sentry-trace",
      "access-control-allow-methods": "GET,HEAD",
      "access-control-allow-origin": "https://shop.example.com",
      "access-control-max-age": "600",
      "allow": "GET,HEAD",
      "cache-control": "no-store",
      "content-length": "0",
      "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
      "referrer-policy": "no-referrer",
      "vary": "origin",
      "x-content-type-options": "nosniff",
      "x-frame-options": "DENY",
      "x-request-id": "[request id]"
    }
    "#);

    let open = Service::guarded(database.database(), None, &two_origins());
    let lock = database.lock("client1.orders").await;
    let (answer, ()) = tokio::join!(open.get(PATH), async {
        database.service_is_blocked().await;
        assert_eq!(open.send(preflight(SHOP)).await.status, 200);
        let answer = open.send(request_from_page(Method::GET, PATH, SHOP)).await;
        answer.problem(503, "overloaded");
        assert_readable(&answer, SHOP);
        lock.release().await;
    });
    answer.ok();
    for (path, status) in [
        ("/users/unknown/orders", 404),
        ("/nowhere", 404),
        ("/users/1/orders?limit=0", 400),
    ] {
        let answer = open.send(request_from_page(Method::GET, path, SHOP)).await;
        assert_eq!(answer.status, status);
        assert_readable(&answer, SHOP);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn timeouts_and_refused_connections_are_readable() {
    let database = TestDatabase::demo().await;
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .env("CORS_ALLOWED_ORIGINS", format!("{OTHER}, {SHOP}"))
            .env("REQUEST_TIMEOUT", "50ms")
            .env("MAX_CLIENT_CONNECTIONS", "1"),
    );
    let url = service.url();
    service.line_with("the database is ready");
    let lock = database.lock("public.users").await;
    let get = async || client::send(request_from_page(Method::GET, &format!("{url}{PATH}"), SHOP)).await;
    let answer = get().await.unwrap();
    answer.problem(504, "timeout");
    assert_readable(&answer, SHOP);
    lock.release().await;

    let mut only = Connection::open(&url).await.unwrap();
    wait_until("the connection is the only one", async || {
        let is_served = matches!(only.get(PATH).await, Ok(answer) if answer.status == 200);
        if !is_served {
            only = Connection::open(&url).await.unwrap();
        }
        is_served
    })
    .await;
    let answer = get().await.unwrap();
    answer.problem(503, "overloaded");
    assert_readable(&answer, SHOP);
    drop(only);
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

#[test]
fn invalid_origin_is_a_usage_error() {
    for invalid in [
        "shop.example.com",
        "https://shop.example.com/",
        "*,https://shop.example.com",
    ] {
        let (status, _, errors) = finished(ServiceProcess::command().env("CORS_ALLOWED_ORIGINS", invalid));
        assert_eq!(status, Some(2), "{errors}");
        assert!(errors.contains("--cors-allowed-origins"), "{errors}");
    }
}

#[tokio::test]
async fn responses_have_security_headers() {
    let service = Service::over(&TestDatabase::demo().await);
    for path in [PATH, "/users/unknown/orders", "/nowhere", "/livez"] {
        let answer = service.get(path).await;
        let mut headers = headers_of(&answer);
        for name in ["content-length", "content-type"] {
            headers.remove(name);
        }
        allow_duplicates! {
            assert_json_snapshot!(headers, @r#"
            {
              "cache-control": "no-store",
              "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
              "referrer-policy": "no-referrer",
              "x-content-type-options": "nosniff",
              "x-frame-options": "DENY",
              "x-request-id": "[request id]"
            }
            "#);
        }
    }
}
