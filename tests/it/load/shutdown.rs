//! Shutdown with requests in flight.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::task::JoinSet;

use super::{LARGE_REQUEST, database_with_a_large_response, is_served, service};
use crate::support::client::Connection;
use crate::support::{TestDatabase, wait_until};

/// Outcomes of the clients' requests during a shutdown.
#[derive(Default)]
struct Outcomes {
    responses: AtomicUsize,
    /// New connections that closed before the first byte of a response.
    unanswered: AtomicUsize,
}

/// Sends requests on one connection until either side closes it.
async fn send_on_one_connection(mut connection: Connection, outcomes: Arc<Outcomes>) {
    loop {
        if connection.has_ended() {
            return;
        }
        let answer = connection.get("/users/1/orders").await;
        let answer = answer.unwrap_or_else(|error| panic!("cut off: {error}, {}", connection.received()));
        is_served(&answer);
        outcomes.responses.fetch_add(1, Ordering::Relaxed);
        if answer.header("connection") == Some("close") {
            connection.end().await;
            assert_eq!(connection.received(), 0);
            return;
        }
    }
}

/// Opens a connection for each request until none can be opened.
async fn send_on_new_connections(url: String, outcomes: Arc<Outcomes>) {
    loop {
        let Ok(mut connection) = Connection::open(&url).await else {
            return;
        };
        if send_one_request(&mut connection, &outcomes).await.is_break() {
            return;
        }
    }
}

async fn send_one_request(connection: &mut Connection, outcomes: &Outcomes) -> ControlFlow<()> {
    match connection.get("/users/1/orders").await {
        Ok(answer) => {
            is_served(&answer);
            outcomes.responses.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Continue(())
        }
        // The operating system accepted the connection, but the service stopped before it did.
        Err(error) => {
            assert_eq!(connection.received(), 0, "cut off: {error}");
            outcomes.unanswered.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Break(())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_under_load_completes_every_request() {
    let database = TestDatabase::demo().await;
    let mut unanswered = 0;
    for _ in 0..3 {
        let mut service = service(&database, &[("MAX_CONCURRENT_REQUESTS", "8")]);
        let url = service.url();
        let outcomes = Arc::new(Outcomes::default());
        let mut clients = JoinSet::new();
        for _ in 0..40 {
            let connection = Connection::open(&url).await.unwrap();
            clients.spawn(send_on_one_connection(connection, outcomes.clone()));
        }
        for _ in 0..10 {
            clients.spawn(send_on_new_connections(url.clone(), outcomes.clone()));
        }
        wait_until("clients have many responses", async || {
            outcomes.responses.load(Ordering::Relaxed) > 1000
        })
        .await;
        service.signal(Signal::SIGTERM);
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        unanswered += outcomes.unanswered.load(Ordering::Relaxed);
        assert_eq!(service.wait().code(), Some(0));
    }
    // A few are unavoidable: the operating system can accept a connection while the listener closes.
    assert!(unanswered <= 3, "{unanswered} of 30");
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_response_does_not_block_shutdown() {
    let database = database_with_a_large_response().await;
    // Shorter than the timeout of an unread response.
    let mut service = service(&database, &[("SHUTDOWN_TIMEOUT", "10s")]);
    let url = service.url();
    let mut connection = Connection::narrow(&url).await.unwrap();
    connection.send(LARGE_REQUEST).await.unwrap();
    connection.read().await.unwrap();
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
    assert!(connection.answer().await.is_err(), "the response is complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_waits_for_a_slow_reader() {
    let database = database_with_a_large_response().await;
    let mut service = service(&database, &[]);
    let url = service.url();
    let mut connection = Connection::narrow(&url).await.unwrap();
    connection.send(LARGE_REQUEST).await.unwrap();
    connection.read().await.unwrap();
    service.signal(Signal::SIGTERM);
    let mut next = 0;
    let answer = loop {
        // Reads a megabyte per tenth of a second.
        if connection.received() >= next {
            next += 1024 * 1024;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_ne!(connection.read().await.unwrap(), 0, "cut off");
        if connection.received() > 40_000_000 {
            break connection.answer().await.unwrap();
        }
    };
    answer.ok();
    assert_eq!(service.wait().code(), Some(0));
}
