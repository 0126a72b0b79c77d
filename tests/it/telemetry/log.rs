//! Log lines.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{ServiceProcess, TestDatabase, client};

fn service(database: &TestDatabase, settings: &[(&str, &str)]) -> ServiceProcess {
    ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .env("LOG_FORMAT", "json")
            .envs(settings.iter().copied()),
    )
}

async fn get(url: &str, path: &str, id: &str) {
    let request = Request::get(format!("{url}{path}")).header("x-request-id", id);
    client::send(request.body(Body::empty()).unwrap()).await.unwrap();
}

/// Returns the lines of the request `id`, without the fields that differ in each run.
fn lines_of(id: &str, log: &str) -> Vec<Value> {
    log.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["request_id"] == id)
        .map(|mut line| {
            let fields = line.as_object_mut().unwrap();
            assert!(fields.remove("timestamp").unwrap().is_string());
            fields.remove("target");
            line
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_one_line_without_a_user_id() {
    let database = TestDatabase::demo().await;
    // No request is slow.
    let mut service = service(&database, &[("SLOW_REQUEST_THRESHOLD", "10m")]);
    let url = service.url();
    for (path, id, status, route, tenant) in [
        (
            "/users/1/orders?limit=1",
            "one",
            200,
            "/users/{id}/orders",
            Some("client1"),
        ),
        ("/users/secret/orders", "two", 404, "/users/{id}/orders", None),
        ("/secret?secret", "three", 404, "-", None),
        ("/livez", "four", 200, "/livez", None),
    ] {
        get(&url, path, id).await;
        let line = service.line_with(id);
        let mut lines = lines_of(id, &line);
        let latency = lines[0].as_object_mut().unwrap().remove("latency_us");
        assert!(latency.is_some_and(|latency| latency.is_u64()));
        let mut expected = json!({
            "level": "INFO", "message": "request completed",
            "method": "GET", "route": route, "request_id": id, "status": status,
        });
        if let Some(tenant) = tenant {
            expected["tenant"] = tenant.into();
        }
        assert_eq!(lines, [expected]);
    }
    service.signal(Signal::SIGTERM);
    let log = service.read_to_end();
    assert!(!log.contains("secret"), "{log}");
    for id in ["one", "two", "three", "four"] {
        assert_eq!(lines_of(id, &log).len(), 1, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_request_is_logged_with_its_database_steps() {
    let database = TestDatabase::demo().await;
    let mut service = service(&database, &[("SLOW_REQUEST_THRESHOLD", "20ms")]);
    let url = service.url();
    let lock = database.lock("client1.items").await;
    let in_flight = tokio::spawn(async move { get(&url, "/users/1/orders", "slow").await });
    database.service_is_blocked().await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    lock.release().await;
    in_flight.await.unwrap();
    service.signal(Signal::SIGTERM);
    let lines = lines_of("slow", &service.read_to_end());
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["message"], "slow request");
    assert_eq!(line["tenant"], "client1");
    let [latency, acquire, lookup, query] =
        ["latency_us", "acquire_us", "lookup_us", "query_us"].map(|name| line[name].as_u64().unwrap());
    assert!(query >= 30_000, "{line}");
    // Each duration is truncated to microseconds.
    assert!(acquire + lookup + query <= latency, "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn timed_out_request_is_logged_with_its_current_step() {
    let database = TestDatabase::demo().await;
    let _lock = database.lock("client1.items").await;
    let mut service = service(
        &database,
        &[
            ("REQUEST_TIMEOUT", "500ms"),
            ("SLOW_REQUEST_THRESHOLD", "50ms"),
            ("STATEMENT_TIMEOUT", "1m"),
        ],
    );
    let url = service.url();
    service.line_with("the database is ready"); // a request reaches its query before the timeout
    get(&url, "/users/1/orders", "late").await;
    let line = service.line_with("slow request");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["status"], 504);
    assert_eq!(line["tenant"], "client1");
    assert!(line["query_us"].is_u64(), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_logged_with_request_ids_at_level_warn() {
    let database = TestDatabase::demo_with("DROP TABLE client1.orders").await;
    let mut service = service(&database, &[("RUST_LOG", "warn,tenant_orders::server=info")]);
    let url = service.url();
    get(&url, "/users/1/orders", "failing").await;
    service.signal(Signal::SIGTERM);
    let log = service.read_to_end();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let failures: Vec<_> = lines
        .iter()
        .filter(|line| line["request_id"] == "failing")
        .collect();
    assert_eq!(failures.len(), 1, "{log}");
    assert_eq!(failures[0]["problem"], "tenant-unavailable");
}
