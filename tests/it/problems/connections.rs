//! Requests as they arrive on a connection: `Host`, invalid HTTP, compression and timing.

use std::io::Read;

use axum::body::Body;
use axum::http::Request;
use flate2::read::GzDecoder;

use crate::support::client::{self, Connection};
use crate::support::{Service, ServiceProcess, TestDatabase, wait_until};

/// Sends `head` on a new connection and returns the status of the response.
async fn status_of(url: &str, head: &str) -> u16 {
    let mut connection = Connection::open(url).await.unwrap();
    connection.send(head).await.unwrap();
    connection.answer().await.unwrap().status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn request_without_exactly_one_valid_host_is_refused() {
    let database = TestDatabase::demo().await;
    let mut service = ServiceProcess::over(&database.url());
    let url = service.url();
    for (version, hosts, expected) in [
        ("1.1", "host: a\r\n", 200),
        ("1.1", "host: a.example:8080\r\n", 200),
        ("1.1", "host: [::1]:8080\r\n", 200),
        ("1.1", "host:\r\n", 200),
        ("1.0", "", 200),
        ("1.1", "", 400),
        ("1.1", "host: a\r\nhost: a\r\n", 400),
        ("1.0", "host: a\r\nhost: b\r\n", 400),
        ("1.1", "host: a/b\r\n", 400),
        ("1.1", "host: me@a\r\n", 400),
    ] {
        let head = format!("GET /users/1/orders HTTP/{version}\r\n{hosts}\r\n");
        assert_eq!(status_of(&url, &head).await, expected, "{head}");
    }
    let mut connection = Connection::open(&url).await.unwrap();
    connection
        .send("GET /users/1/orders HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let problem = connection.answer().await.unwrap().problem(400, "bad-request");
    assert_eq!(problem["detail"], "The header Host is required.");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_http_is_logged_and_counted() {
    let mut service = ServiceProcess::over("postgres://user@127.0.0.1:1/nothing");
    let url = service.url();
    assert_eq!(status_of(&url, "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n").await, 400);
    service.line_with("rejected requests that are not valid HTTP");
    let large = "x".repeat(64 * 1024);
    let head = format!("GET /livez HTTP/1.1\r\nhost: a\r\nx-large: {large}\r\n\r\n");
    assert_eq!(status_of(&url, &head).await, 431);
    for reason in ["malformed", "too_large"] {
        let series = format!("tenant_orders_http_requests_invalid_total{{reason=\"{reason}\"}} 1\n");
        // A request is counted after its response is sent.
        wait_until("the request is counted", async || {
            let metrics = client::get(format!("{url}/metrics")).await.unwrap().text();
            metrics.contains(&series)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connection_is_closed_after_the_configured_time() {
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", "postgres://user@127.0.0.1:1/nothing")
            .env("CLIENT_IDLE_TIMEOUT", "200ms"),
    );
    let mut connection = Connection::open(&service.url()).await.unwrap();
    assert_eq!(connection.get("/livez").await.unwrap().status, 200);
    connection.end().await;
    assert_eq!(connection.received(), 0);
}

#[tokio::test]
async fn large_response_is_compressed_on_request() {
    let database = TestDatabase::demo_with(
        "INSERT INTO client1.orders (id, quantity, user_id, item_id)
         SELECT 'more-' || number, 1, '1', '1' FROM generate_series(1, 50) AS number",
    )
    .await;
    let service = Service::over(&database);
    let plain = service.get("/users/1/orders").await;
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(plain.header("vary"), Some("accept-encoding"));
    let get = async |path: &str, encodings: &str| {
        let request = Request::get(path).header("accept-encoding", encodings);
        service.send(request.body(Body::empty()).unwrap()).await
    };
    let compressed = get("/users/1/orders", "br, gzip").await;
    assert_eq!(compressed.header("content-encoding"), Some("gzip"));
    assert_eq!(compressed.header("vary"), Some("accept-encoding"));
    assert!(compressed.body.len() * 2 < plain.body.len());
    let mut text = String::new();
    GzDecoder::new(&compressed.body[..])
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, plain.text());
    for (path, encodings) in [
        ("/users/2/orders", "gzip"), // small
        ("/users/1/orders", "gzip;q=0"),
        ("/users/1/orders", "br, identity;q=0"),
    ] {
        let answer = get(path, encodings).await;
        assert_eq!(answer.header("content-encoding"), None, "{path} {encodings}");
        answer.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_timing_lists_the_steps_if_enabled() {
    let database = TestDatabase::demo().await;
    for (setting, expected) in [
        ("true", Some(vec!["total", "acquire", "lookup", "query"])),
        ("false", None),
    ] {
        let mut service = ServiceProcess::spawn(
            ServiceProcess::command()
                .env("DATABASE_URL", database.url())
                .env("SERVER_TIMING", setting),
        );
        let answer = client::get(format!("{}/users/1/orders", service.url()))
            .await
            .unwrap();
        let names = answer.header("server-timing").map(|timing| {
            let entry = |entry: &'_ str| {
                let (name, duration) = entry.split_once(";dur=").unwrap();
                assert!(duration.parse::<f64>().unwrap() > 0.0, "{timing}");
                name.to_owned()
            };
            timing.split(", ").map(entry).collect::<Vec<_>>()
        });
        let expected = expected.map(|names| names.into_iter().map(str::to_owned).collect());
        assert_eq!(names, expected);
        answer.ok();
    }
}
