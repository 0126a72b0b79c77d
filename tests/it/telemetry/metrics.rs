//! `GET /metrics`.

use std::time::Duration;

use axum::http::Method;
use tenant_orders::config::PoolSettings;

use super::exposition::Exposition;
use crate::support::client::{self, Connection};
use crate::support::{Service, ServiceProcess, TestDatabase, wait_until};

const REQUESTS: &str = "tenant_orders_http_request_duration_seconds_count";
const STEPS: &str = "tenant_orders_database_step_duration_seconds_count";
const ORDERS: &str = "/users/{id}/orders";

async fn metrics(service: &Service) -> Exposition {
    Exposition::from_answer(&service.get("/metrics").await)
}

fn one_connection(acquire_timeout: Duration) -> PoolSettings {
    PoolSettings {
        database_max_connections: 1,
        acquire_timeout,
        ..PoolSettings::default()
    }
}

#[tokio::test]
async fn requests_are_counted_by_method_route_and_status() {
    let service = Service::over(&TestDatabase::demo().await);
    for path in [
        "/users/1/orders",
        "/users/2/orders?limit=1",
        "/users/secret-id/orders",
        "/users/1/orders?limit=0",
        "/secret-path",
        "/readyz",
    ] {
        service.get(path).await;
    }
    service.request(Method::POST, "/users/1/orders").await;
    let metrics = metrics(&service).await;
    for (method, route, status, expected) in [
        ("GET", ORDERS, "200", 2.0),
        ("GET", ORDERS, "404", 1.0),
        ("GET", ORDERS, "400", 1.0),
        ("GET", "-", "404", 1.0),
        ("GET", "/readyz", "200", 1.0),
        ("POST", ORDERS, "405", 1.0),
    ] {
        let labels = [("method", method), ("route", route), ("status", status)];
        assert_eq!(metrics.value(REQUESTS, &labels), expected, "{labels:?}");
    }
    assert_eq!(metrics.sum(REQUESTS, &[]), 7.0);
    // The request for the metrics itself.
    assert_eq!(metrics.value("tenant_orders_http_requests_in_flight", &[]), 1.0);
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(metrics.value("tenant_orders_build_info", &version), 1.0);
}

#[tokio::test]
async fn unknown_paths_and_methods_add_no_series() {
    let service = Service::over(&TestDatabase::demo().await);
    let ask = async |word: &str| {
        service.get(&format!("/users/{word}/orders")).await;
        service.get(&format!("/{word}")).await;
        let method = Method::from_bytes(word.as_bytes()).unwrap();
        service.request(method, "/livez").await;
    };
    ask("one").await;
    service.get("/metrics").await;
    let before = metrics(&service).await;
    for number in 0..50 {
        ask(&format!("other{number}")).await;
    }
    let after = metrics(&service).await;
    assert_eq!(before.series_count(), after.series_count());
    assert!(!service.get("/metrics").await.text().contains("other1"));
}

#[tokio::test]
async fn each_database_step_is_measured() {
    let database = TestDatabase::demo().await;
    let service = Service::over(&database);
    let assert_counts = async |expected: [f64; 3]| {
        let metrics = metrics(&service).await;
        for (step, expected) in ["acquire", "lookup", "query"].into_iter().zip(expected) {
            assert_eq!(metrics.value(STEPS, &[("step", step)]), expected, "{step}");
        }
    };
    service.get("/readyz").await;
    assert_counts([0.0, 0.0, 0.0]).await;
    service.get("/users/1/orders").await.ok();
    assert_counts([1.0, 1.0, 1.0]).await;
    service.get("/users/1/orders").await.ok(); // the tenant is cached
    assert_counts([2.0, 1.0, 2.0]).await;
    service
        .get("/users/nobody/orders")
        .await
        .problem(404, "user-not-found");
    assert_counts([3.0, 2.0, 2.0]).await;
    let lock = database.lock("client1.items").await;
    let request = tokio::spawn({
        let service = service.clone();
        async move { service.get("/users/1/orders").await }
    });
    database.service_is_blocked().await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    lock.release().await;
    request.await.unwrap().ok();
    let sum = "tenant_orders_database_step_duration_seconds_sum";
    let query = metrics(&service).await.value(sum, &[("step", "query")]);
    assert!(query > 0.05, "{query}");
}

#[tokio::test]
async fn tenant_cache_lookups_are_counted() {
    let database = TestDatabase::demo().await;
    let service = Service::over(&database);
    let assert_counts = async |hits: f64, misses: f64, stale: f64| {
        let metrics = metrics(&service).await;
        let lookups = "tenant_orders_tenant_cache_lookups_total";
        assert_eq!(metrics.value(lookups, &[("result", "hit")]), hits);
        assert_eq!(metrics.value(lookups, &[("result", "miss")]), misses);
        assert_eq!(
            metrics.value("tenant_orders_tenant_cache_stale_total", &[]),
            stale
        );
    };
    service.get("/users/1/orders").await.ok();
    assert_counts(0.0, 1.0, 0.0).await;
    service.get("/users/1/orders").await.ok();
    assert_counts(1.0, 1.0, 0.0).await;
    database
        .execute("UPDATE public.users SET organization_id = 'client2' WHERE id = '1'")
        .await;
    service.get("/users/1/orders").await.ok();
    assert_counts(2.0, 1.0, 1.0).await;
}

#[tokio::test]
async fn pool_metrics_follow_the_pool() {
    let database = TestDatabase::demo().await;
    let settings = one_connection(Duration::from_mins(1));
    let service = Service::new(database.database_with(&settings));
    service.get("/users/1/orders").await.ok();
    let pool = async || {
        let metrics = metrics(&service).await;
        [
            "connections_limit",
            "connections",
            "connections_idle",
            "connections_in_use",
            "waiting",
        ]
        .map(|name| metrics.value(&format!("tenant_orders_pool_{name}"), &[]))
    };
    assert_eq!(pool().await, [1.0, 1.0, 1.0, 0.0, 0.0]);
    let lock = database.lock("client1.items").await;
    let get = || {
        let service = service.clone();
        tokio::spawn(async move { service.get("/users/1/orders").await })
    };
    let blocked = get();
    database.service_is_blocked().await;
    let waiting = get();
    wait_until("a request waits", async || {
        pool().await == [1.0, 1.0, 0.0, 1.0, 1.0]
    })
    .await;
    lock.release().await;
    for request in [blocked, waiting] {
        request.await.unwrap().ok();
    }
    wait_until("the connection is idle", async || {
        pool().await == [1.0, 1.0, 1.0, 0.0, 0.0]
    })
    .await;
}

#[tokio::test]
async fn connection_timeouts_are_counted() {
    let database = TestDatabase::demo().await;
    let settings = one_connection(Duration::from_millis(50));
    let service = Service::new(database.database_with(&settings));
    // On a busy machine the first connection can take longer than the timeout.
    wait_until("the service responds", async || {
        service.get("/users/1/orders").await.status == 200
    })
    .await;
    let timeouts = async || {
        metrics(&service)
            .await
            .value("tenant_orders_pool_timeouts_total", &[])
    };
    let before = timeouts().await;
    let _lock = database.lock("client1.items").await;
    let blocked = tokio::spawn({
        let service = service.clone();
        async move { service.get("/users/1/orders").await }
    });
    database.service_is_blocked().await;
    let answer = service.get("/users/2/orders").await;
    answer.problem(503, "database-unavailable");
    assert_eq!(timeouts().await, before + 1.0);
    blocked.abort();
}

#[tokio::test]
async fn rejected_requests_are_counted_and_metrics_still_served() {
    let database = TestDatabase::demo().await;
    let service = Service::with(database.database(), Duration::from_mins(1), 1);
    let lock = database.lock("client1.items").await;
    let blocked = tokio::spawn({
        let service = service.clone();
        async move { service.get("/users/1/orders").await }
    });
    database.service_is_blocked().await;
    for _ in 0..3 {
        service.get("/users/2/orders").await.problem(503, "overloaded");
    }
    let metrics = metrics(&service).await;
    assert_eq!(metrics.value("tenant_orders_http_requests_shed_total", &[]), 3.0);
    assert_eq!(metrics.value("tenant_orders_http_requests_in_flight", &[]), 2.0);
    assert_eq!(
        metrics.value(REQUESTS, &[("route", ORDERS), ("status", "503")]),
        3.0
    );
    lock.release().await;
    blocked.await.unwrap().ok();
}

#[tokio::test]
async fn request_is_counted_if_its_client_disconnects() {
    let database = TestDatabase::demo().await;
    let service = Service::over(&database);
    let lock = database.lock("client1.items").await;
    let client = tokio::spawn({
        let service = service.clone();
        async move { service.get("/users/1/orders").await }
    });
    database.service_is_blocked().await;
    client.abort();
    assert!(client.await.is_err());
    let gone = metrics(&service).await;
    assert_eq!(gone.value(REQUESTS, &[("route", ORDERS), ("status", "499")]), 1.0);
    assert_eq!(gone.value(STEPS, &[("step", "query")]), 0.0);
    lock.release().await;
    // The query continues after the disconnect, and is measured to its end.
    wait_until("the query is measured", async || {
        metrics(&service).await.value(STEPS, &[("step", "query")]) > 0.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_clients_are_counted() {
    let database = TestDatabase::demo().await;
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .env("MAX_CLIENT_CONNECTIONS", "1"),
    );
    let url = service.url();
    let mut monitoring = Connection::open(&url).await.unwrap();
    let rejected = "tenant_orders_connections_rejected_total";
    let before = Exposition::from_answer(&monitoring.get("/metrics").await.unwrap());
    assert_eq!(before.value(rejected, &[]), 0.0);
    let answer = client::get(format!("{url}/users/1/orders")).await.unwrap();
    answer.problem(503, "overloaded");
    let after = Exposition::from_answer(&monitoring.get("/metrics").await.unwrap());
    assert_eq!(after.value(rejected, &[]), 1.0);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn process_metrics_have_plausible_values() {
    let database = TestDatabase::demo().await;
    let mut service = ServiceProcess::over(&database.url());
    let url = service.url();
    let metrics = Exposition::from_answer(&client::get(format!("{url}/metrics")).await.unwrap());
    let value = |name: &str| metrics.value(name, &[]);
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!((3.0..value("process_max_fds")).contains(&value("process_open_fds")));
    assert!(value("process_cpu_seconds_total") >= 0.0);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let age = now - value("process_start_time_seconds");
    assert!((-2.0..3600.0).contains(&age), "{age}");
}
