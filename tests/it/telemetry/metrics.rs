//! `GET /metrics`.

use std::time::Duration;

use axum::http::Method;
use tenant_orders::config::PoolSettings;

use super::exposition::Exposition;
use crate::support::client::{self, Connection};
use crate::support::{Service, ServiceProcess, TestDatabase};

const REQUESTS: &str = "tenant_orders_http_request_duration_seconds_count";
const STEPS: &str = "tenant_orders_database_step_duration_seconds_count";
const ORDERS: &str = "/users/{id}/orders";

async fn metrics(service: &Service) -> Exposition {
    Exposition::of(&service.get("/metrics").await)
}

fn one_connection(acquire_timeout: Duration) -> PoolSettings {
    PoolSettings {
        database_max_connections: 1,
        acquire_timeout,
        ..PoolSettings::default()
    }
}

#[tokio::test]
async fn each_request_is_counted_by_its_method_route_and_status() {
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
    // The question itself.
    assert_eq!(metrics.value("tenant_orders_http_requests_in_flight", &[]), 1.0);
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(metrics.value("tenant_orders_build_info", &version), 1.0);
}

#[tokio::test]
async fn whatever_clients_ask_there_are_no_more_series() {
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
    assert_eq!(before.series(), after.series());
    assert!(!service.get("/metrics").await.text().contains("other1"));
}

#[tokio::test]
async fn each_step_at_the_database_is_measured() {
    let database = TestDatabase::demo().await;
    let service = Service::over(&database);
    let taken = async |expected: [f64; 4]| {
        let metrics = metrics(&service).await;
        for (step, expected) in ["acquire", "lookup", "begin", "query"].into_iter().zip(expected) {
            assert_eq!(metrics.value(STEPS, &[("step", step)]), expected, "{step}");
        }
    };
    service.get("/readyz").await;
    taken([0.0, 0.0, 0.0, 0.0]).await;
    service.get("/users/1/orders").await.ok();
    taken([1.0, 1.0, 1.0, 1.0]).await;
    service.get("/users/1/orders").await.ok(); // the tenant is remembered
    taken([2.0, 1.0, 2.0, 2.0]).await;
    service
        .get("/users/nobody/orders")
        .await
        .problem(404, "user-not-found");
    taken([3.0, 2.0, 2.0, 2.0]).await;
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
async fn hints_are_counted() {
    let database = TestDatabase::demo().await;
    let service = Service::over(&database);
    let counted = async |hits: f64, misses: f64, stale: f64| {
        let metrics = metrics(&service).await;
        let hints = "tenant_orders_tenant_cache_lookups_total";
        assert_eq!(metrics.value(hints, &[("result", "hit")]), hits);
        assert_eq!(metrics.value(hints, &[("result", "miss")]), misses);
        assert_eq!(
            metrics.value("tenant_orders_tenant_cache_stale_total", &[]),
            stale
        );
    };
    service.get("/users/1/orders").await.ok();
    counted(0.0, 1.0, 0.0).await;
    service.get("/users/1/orders").await.ok();
    counted(1.0, 1.0, 0.0).await;
    database
        .execute("UPDATE public.users SET organization_id = 'client2' WHERE id = '1'")
        .await;
    service.get("/users/1/orders").await.ok();
    counted(2.0, 1.0, 1.0).await;
}

#[tokio::test]
async fn the_pool_is_shown_as_it_is() {
    let database = TestDatabase::demo().await;
    let settings = one_connection(Duration::from_mins(1));
    let service = Service::new(database.database_with(&settings));
    service.get("/users/1/orders").await.ok();
    let shown = async || {
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
    assert_eq!(shown().await, [1.0, 1.0, 1.0, 0.0, 0.0]);
    let lock = database.lock("client1.items").await;
    let get = || {
        let service = service.clone();
        tokio::spawn(async move { service.get("/users/1/orders").await })
    };
    let blocked = get();
    database.service_is_blocked().await;
    let waiting = get();
    while shown().await != [1.0, 1.0, 0.0, 1.0, 1.0] {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    lock.release().await;
    for request in [blocked, waiting] {
        request.await.unwrap().ok();
    }
    while shown().await != [1.0, 1.0, 1.0, 0.0, 0.0] {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_wait_for_a_connection_that_is_given_up_is_counted() {
    let database = TestDatabase::demo().await;
    let settings = one_connection(Duration::from_millis(50));
    let service = Service::new(database.database_with(&settings));
    // On a slow machine the first connection may take longer.
    while service.get("/users/1/orders").await.status != 200 {}
    let given_up = async || {
        metrics(&service)
            .await
            .value("tenant_orders_pool_timeouts_total", &[])
    };
    let before = given_up().await;
    let _lock = database.lock("client1.items").await;
    let blocked = tokio::spawn({
        let service = service.clone();
        async move { service.get("/users/1/orders").await }
    });
    database.service_is_blocked().await;
    let answer = service.get("/users/2/orders").await;
    answer.problem(503, "database-unavailable");
    assert_eq!(given_up().await, before + 1.0);
    blocked.abort();
}

#[tokio::test]
async fn what_is_too_much_is_counted_and_the_metrics_are_told_all_the_same() {
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
async fn a_request_counts_though_its_client_hung_up() {
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
    // What it had begun at the database goes on, and is measured to its end.
    while metrics(&service).await.value(STEPS, &[("step", "query")]) == 0.0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_are_turned_away_are_counted() {
    let database = TestDatabase::demo().await;
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .env("MAX_CLIENT_CONNECTIONS", "1"),
    );
    let url = service.url();
    let mut monitoring = Connection::open(&url).await.unwrap();
    let turned_away = "tenant_orders_connections_turned_away_total";
    let before = Exposition::of(&monitoring.get("/metrics").await.unwrap());
    assert_eq!(before.value(turned_away, &[]), 0.0);
    let answer = client::get(format!("{url}/users/1/orders")).await.unwrap();
    answer.problem(503, "overloaded");
    let after = Exposition::of(&monitoring.get("/metrics").await.unwrap());
    assert_eq!(after.value(turned_away, &[]), 1.0);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_process_tells_what_it_takes_of_the_machine() {
    let database = TestDatabase::demo().await;
    let mut service = ServiceProcess::over(&database.url());
    let url = service.url();
    let metrics = Exposition::of(&client::get(format!("{url}/metrics")).await.unwrap());
    let value = |name: &str| metrics.value(name, &[]);
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!((3.0..value("process_max_fds")).contains(&value("process_open_fds")));
    assert!(value("process_cpu_seconds_total") >= 0.0);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let age = now - value("process_start_time_seconds");
    assert!((-2.0..3600.0).contains(&age), "{age}");
}
