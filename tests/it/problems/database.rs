//! Problems of the database and of load.

use std::time::Duration;

use axum::http::Method;
use insta::assert_json_snapshot;
use tenant_orders::config::{DatabaseUrl, PoolSettings};
use tenant_orders::users::UserDirectory;

use super::assert_reveals_no_internals;
use crate::support::{Service, TestDatabase, assert_statements_time_out, snapshot};

#[tokio::test]
async fn unreachable_database_is_unavailable() {
    let settings = PoolSettings {
        acquire_timeout: Duration::from_millis(200),
        ..PoolSettings::default()
    };
    for url in [
        "postgres://me@127.0.0.1:1/nothing",
        "postgres:///nothing?host=/nonexistent",
    ] {
        let service =
            Service::new(UserDirectory::open(&DatabaseUrl::from(url.to_owned()), &settings).unwrap());
        for path in ["/users/1/orders", "/readyz"] {
            let answer = service.get(path).await;
            answer.problem(503, "database-unavailable");
            assert_reveals_no_internals(&answer);
        }
        assert_eq!(service.get("/livez").await.status, 200);
    }
}

#[tokio::test]
async fn database_without_users_table_is_not_ready() {
    let service = Service::over(&TestDatabase::empty().await);
    for path in ["/users/1/orders", "/readyz"] {
        service.get(path).await.problem(503, "database-unavailable");
    }
    assert_json_snapshot!(snapshot(&service.get("/readyz").await), @r#"
    {
      "body": {
        "detail": "The database is not available. Try again shortly.",
        "instance": "/readyz",
        "request_id": "[request id]",
        "status": 503,
        "title": "Database unavailable",
        "type": "/problems/database-unavailable"
      },
      "headers": {
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "content-type": "application/problem+json",
        "referrer-policy": "no-referrer",
        "retry-after": "1",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "x-request-id": "[request id]"
      },
      "status": 503
    }
    "#);
}

#[tokio::test]
async fn working_database_is_ready() {
    let service = Service::over(&TestDatabase::demo().await);
    for path in ["/livez", "/readyz"] {
        assert_eq!(service.get(path).await.status, 200);
        assert_eq!(service.request(Method::HEAD, path).await.status, 200);
    }
}

#[tokio::test]
async fn type_change_of_the_users_table_is_tolerated() {
    let database = TestDatabase::demo().await;
    let service = Service::over(&database);
    for path in ["/readyz", "/users/1/orders"] {
        assert_eq!(service.get(path).await.status, 200);
    }
    database
        .execute("ALTER TABLE public.users ALTER name TYPE text, ALTER organization_id TYPE text")
        .await;
    for path in ["/readyz", "/users/1/orders"] {
        assert_eq!(service.get(path).await.status, 200);
    }
}

#[tokio::test]
async fn slow_statement_times_out() {
    let database = TestDatabase::demo().await;
    let settings = PoolSettings {
        statement_timeout: Duration::from_millis(100),
        ..PoolSettings::default()
    };
    let service = Service::new(database.database_with(&settings));
    assert_statements_time_out(&service, &database).await;
}

#[tokio::test]
async fn slow_request_times_out() {
    let database = TestDatabase::demo().await;
    let service = Service::with(database.database(), Duration::from_millis(100), 1024);
    let _lock = database.lock("client1.items").await;
    assert_json_snapshot!(snapshot(&service.get("/users/1/orders").await), @r#"
    {
      "body": {
        "detail": "The request took longer than the service allows.",
        "instance": "/users/1/orders",
        "request_id": "[request id]",
        "status": 504,
        "title": "Timeout",
        "type": "/problems/timeout"
      },
      "headers": {
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "content-type": "application/problem+json",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "x-request-id": "[request id]"
      },
      "status": 504
    }
    "#);
    assert_eq!(service.get("/users/2/orders").await.ok()["total_due"], "10500.00");
}

#[tokio::test]
async fn exhausted_pool_is_unavailable() {
    let database = TestDatabase::demo().await;
    let settings = PoolSettings {
        database_max_connections: 1,
        acquire_timeout: Duration::from_secs(1),
        ..PoolSettings::default()
    };
    let service = Service::new(database.database_with(&settings));
    let lock = database.lock("client1.items").await;
    let waiting = tokio::spawn({
        let service = service.clone();
        async move { service.get("/users/1/orders").await }
    });
    database.service_is_blocked().await;
    service
        .get("/users/2/orders")
        .await
        .problem(503, "database-unavailable");
    lock.release().await;
    waiting.await.unwrap().ok();
    service.get("/users/2/orders").await.ok();
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused() {
    let database = TestDatabase::demo().await;
    let service = Service::with(database.database(), Duration::from_secs(10), 1);
    let lock = database.lock("client1.items").await;
    let waiting = tokio::spawn({
        let service = service.clone();
        async move { service.get("/users/1/orders").await }
    });
    database.service_is_blocked().await;
    assert_json_snapshot!(snapshot(&service.get("/users/2/orders").await), @r#"
    {
      "body": {
        "detail": "The service is handling its maximum number of concurrent requests. Try again shortly.",
        "instance": "/users/2/orders",
        "request_id": "[request id]",
        "status": 503,
        "title": "Too many concurrent requests",
        "type": "/problems/overloaded"
      },
      "headers": {
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "content-type": "application/problem+json",
        "referrer-policy": "no-referrer",
        "retry-after": "1",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "x-request-id": "[request id]"
      },
      "status": 503
    }
    "#);
    for exempt in ["/livez", "/readyz"] {
        assert_eq!(service.get(exempt).await.status, 200);
    }
    lock.release().await;
    waiting.await.unwrap().ok();
    service.get("/users/2/orders").await.ok();
}
