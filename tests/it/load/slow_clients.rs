//! Slow clients and oversized requests.

use std::time::Duration;

use clap::Parser;
use nix::sys::signal::Signal;
use tenant_orders::config::ServeSettings;
use tenant_orders::server;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{LARGE_REQUEST, POLL_INTERVAL, assert_serves, database_with_a_large_response, service};
use crate::support::TestDatabase;
use crate::support::client::Connection;

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_do_not_block_others() {
    let database = TestDatabase::demo().await;
    let mut service = service(&database, &[("MAX_CONCURRENT_REQUESTS", "4")]);
    let url = service.url();
    let mut slow = JoinSet::new();
    for number in 0..300 {
        let mut connection = Connection::open(&url).await.unwrap();
        slow.spawn(async move {
            match number % 3 {
                0 => {}
                1 => connection
                    .send("GET /users/1/orders HTTP/1.1\r\nx-")
                    .await
                    .unwrap(),
                _ => {
                    connection
                        .send("GET /users/1/orders HTTP/1.1\r\nx-slow: ")
                        .await
                        .unwrap();
                    while connection.send("x").await.is_ok() {
                        tokio::time::sleep(POLL_INTERVAL).await;
                    }
                }
            }
            std::future::pending::<()>().await;
        });
    }
    for _ in 0..50 {
        assert_serves(&url).await;
    }
    // They do not block the shutdown either.
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

/// Starts the service in this process, whose clock the test controls.
async fn serve_in_process(database: &TestDatabase) -> String {
    #[derive(Parser)]
    struct Settings {
        #[command(flatten)]
        serve: ServeSettings,
    }
    let settings = Settings::parse_from(["tenant-orders"]).serve;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let database = database.database();
    tokio::spawn(async move {
        server::run(listener, None, database, &settings, None, std::future::pending()).await
    });
    url
}

async fn advance_clock(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

#[tokio::test]
async fn incomplete_request_is_closed_after_a_timeout() {
    let database = TestDatabase::demo().await;
    let url = serve_in_process(&database).await;
    let mut connections = Vec::new();
    for sent in [
        "",
        "GET /livez HTTP/1.1\r\nx-slow: x",
        "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let mut connection = Connection::open(&url).await.unwrap();
        connection.send(sent).await.unwrap();
        connections.push(connection);
    }
    connections[2].answer().await.unwrap();
    tokio::time::sleep(POLL_INTERVAL).await;
    advance_clock(Duration::from_secs(70)).await;
    tokio::time::sleep(POLL_INTERVAL).await;
    assert!(!connections.iter().any(Connection::has_ended));
    advance_clock(Duration::from_secs(6)).await;
    for mut connection in connections {
        connection.end().await;
    }
    assert_serves(&url).await;
}

#[tokio::test]
async fn unread_response_is_closed_after_a_timeout() {
    let database = database_with_a_large_response().await;
    let url = serve_in_process(&database).await;
    let mut connection = Connection::narrow(&url).await.unwrap();
    connection.send(LARGE_REQUEST).await.unwrap();
    connection.read().await.unwrap();
    // The service fills the buffers and can write no more.
    tokio::time::sleep(Duration::from_millis(500)).await;
    advance_clock(Duration::from_secs(31)).await;
    tokio::time::sleep(POLL_INTERVAL).await;
    let answer = connection.answer().await;
    assert!(answer.is_err(), "the response is complete");
    assert_serves(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_head_size_is_limited() {
    let database = TestDatabase::demo().await;
    let mut service = service(&database, &[]);
    let url = service.url();
    let large = "x".repeat(64 * 1024);
    let medium = "x".repeat(17 * 1024);
    let many = "x-one: more\r\n".repeat(101);
    for head in [
        format!("GET /users/1/orders HTTP/1.1\r\nx-large: {large}\r\n\r\n"),
        format!("GET /users/1/orders HTTP/1.1\r\nx-large: {medium}\r\n\r\n"),
        format!("GET /users/{large}/orders HTTP/1.1\r\nhost: x\r\n\r\n"),
        format!("GET /users/{medium}/orders HTTP/1.1\r\nhost: x\r\n\r\n"),
        format!("GET /users/1/orders?x={large} HTTP/1.1\r\nhost: x\r\n\r\n"),
        format!("GET /users/1/orders HTTP/1.1\r\n{many}\r\n"),
    ] {
        let mut connection = Connection::open(&url).await.unwrap();
        // The service may close the connection before all is sent.
        let _ = connection.send(&head).await;
        if let Ok(answer) = connection.answer().await {
            assert!([414, 431].contains(&answer.status.as_u16()), "{}", answer.status);
        }
        connection.end().await;
        assert_eq!(connection.received(), 0);
        assert_serves(&url).await;
    }
    // A long head within the limits is accepted.
    let id = "x".repeat(8000);
    let mut connection = Connection::open(&url).await.unwrap();
    let answer = connection.get(&format!("/users/{id}/orders")).await.unwrap();
    answer.problem(404, "user-not-found");
    let maximum_headers = "x-one: more\r\n".repeat(99);
    connection
        .send(format!(
            "GET /users/1/orders HTTP/1.1\r\nhost: x\r\n{maximum_headers}\r\n"
        ))
        .await
        .unwrap();
    connection.answer().await.unwrap().ok();
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn excess_request_bytes_do_not_lose_the_response() {
    let database = TestDatabase::demo().await;
    let mut service = service(&database, &[]);
    let url = service.url();
    let mut reset_free = 0;
    for _ in 0..20 {
        let mut connection = Connection::open(&url).await.unwrap();
        let mut request = b"GET /users/2/orders HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec();
        request.resize(40 * 1024, b'x');
        connection.send(request).await.unwrap();
        connection.answer().await.unwrap().ok();
        assert_eq!(connection.read().await.unwrap(), 0);
        // A reset would arrive immediately after the end.
        tokio::time::sleep(POLL_INTERVAL).await;
        reset_free += usize::from(connection.send("x").await.is_ok());
    }
    // Not all, because the service waits for one second only and the machine may be slow.
    assert!(reset_free > 10, "{reset_free} of 20");
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}
