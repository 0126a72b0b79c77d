//! What browsers are told: which web pages may read answers, and what to do with them.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request};
use nix::sys::signal::Signal;
use tenant_orders::authentication::Authenticator;
use tenant_orders::config::{AllowedOrigins, AuthenticationSettings, CorsSettings};

use crate::support::client::{self, Connection};
use crate::support::{Answer, Service, ServiceProcess, TestDatabase, finished};

const PATH: &str = "/users/1/orders";
const SHOP: &str = "https://shop.example.com";
const OTHER: &str = "http://localhost:3000";

fn named() -> CorsSettings {
    let origins = [SHOP, OTHER].map(HeaderValue::from_static);
    CorsSettings {
        cors_allowed_origins: Some(AllowedOrigins::Named(origins.to_vec())),
    }
}

fn from_page(method: Method, path: &str, origin: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    request.header("origin", origin).body(Body::empty()).unwrap()
}

fn preflight(origin: &str) -> Request<Body> {
    let mut request = from_page(Method::OPTIONS, PATH, origin);
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

/// Checks that a page of this origin may read the answer.
fn assert_readable(answer: &Answer, origin: &str) {
    assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    let vary = answer.header("vary").unwrap().to_lowercase();
    assert!(vary.contains("origin"), "{vary}");
}

#[tokio::test]
async fn pages_of_the_named_origins_alone_may_read_answers() {
    let service = Service::guarded(TestDatabase::demo().await.database(), None, &named());
    for origin in [SHOP, OTHER] {
        let answer = service.send(from_page(Method::GET, PATH, origin)).await;
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
        for request in [from_page(Method::GET, PATH, foreign), preflight(foreign)] {
            let answer = service.send(request).await;
            assert_eq!(answer.header("access-control-allow-origin"), None, "{foreign}");
        }
    }
}

#[tokio::test]
async fn without_named_origins_no_page_may_read_answers() {
    let service = Service::over(&TestDatabase::demo().await);
    let answer = service.send(from_page(Method::GET, PATH, SHOP)).await;
    answer.ok();
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let answer = service.send(preflight(SHOP)).await;
    answer.problem(405, "method-not-allowed");
}

#[tokio::test]
async fn all_origins_are_allowed_without_credentials() {
    let any = CorsSettings {
        cors_allowed_origins: Some(AllowedOrigins::Any),
    };
    let service = Service::guarded(TestDatabase::demo().await.database(), None, &any);
    for request in [from_page(Method::GET, PATH, SHOP), preflight(SHOP)] {
        let answer = service.send(request).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
}

/// There is one permit, and it is taken.
#[tokio::test]
async fn preflights_need_no_token_and_no_permit_and_refusals_can_be_read() {
    let database = TestDatabase::demo().await;
    let secret = "a secret of the tests, long enough";
    let settings = AuthenticationSettings {
        jwt_secret: Some(secret.into()),
        ..AuthenticationSettings::default()
    };
    let authenticator = Authenticator::open(&settings).await.unwrap();
    let guarded = Service::guarded(database.database(), authenticator, &named());
    let answer = guarded.send(from_page(Method::GET, PATH, SHOP)).await;
    answer.problem(401, "unauthorized");
    assert_readable(&answer, SHOP);
    let answer = guarded.send(preflight(SHOP)).await;
    assert_eq!(answer.status, 200);
    assert_readable(&answer, SHOP);
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET,HEAD"));
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("authorization,x-request-id")
    );

    let open = Service::guarded(database.database(), None, &named());
    let lock = database.lock("client1.orders").await;
    let (answer, ()) = tokio::join!(open.get(PATH), async {
        database.service_is_blocked().await;
        assert_eq!(open.send(preflight(SHOP)).await.status, 200);
        let answer = open.send(from_page(Method::GET, PATH, SHOP)).await;
        answer.problem(503, "overloaded");
        assert_readable(&answer, SHOP);
        lock.release().await;
    });
    answer.ok();
    for (path, status) in [
        ("/users/nobody/orders", 404),
        ("/nowhere", 404),
        ("/users/1/orders?limit=0", 400),
    ] {
        let answer = open.send(from_page(Method::GET, path, SHOP)).await;
        assert_eq!(answer.status, status);
        assert_readable(&answer, SHOP);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_can_read_that_time_ran_out_or_that_there_are_too_many_connections() {
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
    let get = async || client::send(from_page(Method::GET, &format!("{url}{PATH}"), SHOP)).await;
    let answer = get().await.unwrap();
    answer.problem(504, "timeout");
    assert_readable(&answer, SHOP);
    lock.release().await;

    let mut only = Connection::open(&url).await.unwrap();
    while !matches!(only.get(PATH).await, Ok(answer) if answer.status == 200) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        only = Connection::open(&url).await.unwrap();
    }
    let answer = get().await.unwrap();
    answer.problem(503, "overloaded");
    assert_readable(&answer, SHOP);
    drop(only);
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

#[test]
fn what_is_no_origin_is_wrong_usage() {
    for wrong in [
        "shop.example.com",
        "https://shop.example.com/",
        "*,https://shop.example.com",
    ] {
        let (status, _, errors) = finished(ServiceProcess::command().env("CORS_ALLOWED_ORIGINS", wrong));
        assert_eq!(status, Some(2), "{errors}");
        assert!(errors.contains("--cors-allowed-origins"), "{errors}");
    }
}

#[tokio::test]
async fn answers_are_kept_by_nobody_and_taken_for_nothing_else() {
    let service = Service::over(&TestDatabase::demo().await);
    for path in [PATH, "/users/nobody/orders", "/nowhere", "/livez"] {
        let answer = service.get(path).await;
        for (name, value) in [
            ("cache-control", "no-store"),
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'",
            ),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
    }
}
