//! More clients or requests than the limits permit.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::task::JoinSet;

use super::{assert_serves, is_served, service};
use crate::support::client::Connection;
use crate::support::{ServiceProcess, TestDatabase, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn clients_beyond_the_limit_get_503() {
    let database = TestDatabase::demo().await;
    let mut service = service(&database, &[("MAX_CLIENT_CONNECTIONS", "3")]);
    let url = service.url();
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(Connection::open(&url).await.unwrap());
    }
    for path in ["/users/1/orders", "/readyz", "/nothing"] {
        let mut connection = Connection::open(&url).await.unwrap();
        let answer = connection.get(path).await.unwrap();
        let problem = answer.problem(503, "overloaded");
        assert_eq!(problem["instance"], path);
        assert_eq!(answer.header("connection"), Some("close"));
        connection.end().await;
        assert_eq!(connection.received(), 0);
    }
    let mut connection = Connection::open(&url).await.unwrap();
    assert_eq!(connection.get("/livez").await.unwrap().status, 200);
    // Connected clients are served.
    assert_eq!(idle[0].get("/users/2/orders").await.unwrap().status, 200);
    drop(idle);
    wait_until("a connection is free", async || {
        let mut connection = Connection::open(&url).await.unwrap();
        connection.get("/users/2/orders").await.unwrap().status == 200
    })
    .await;
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn refused_connections_are_limited() {
    let database = TestDatabase::demo().await;
    let mut service = service(&database, &[("MAX_CLIENT_CONNECTIONS", "1")]);
    let url = service.url();
    let before = service.open_files();
    let mut connections = Vec::new();
    for _ in 0..1000 {
        connections.push(Connection::open(&url).await.unwrap());
        assert!(service.open_files() <= before + 1 + 256 + 8);
    }
    drop(connections);
    wait_until("a connection is free", async || {
        let mut connection = Connection::open(&url).await.unwrap();
        connection
            .get("/users/2/orders")
            .await
            .is_ok_and(|answer| answer.status == 200)
    })
    .await;
    service.signal(Signal::SIGTERM);
    let log = service.read_to_end();
    let lines = log.matches("MAX_CLIENT_CONNECTIONS").count();
    assert!((1..100).contains(&lines), "{lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_file_limit_is_raised_to_the_hard_limit() {
    let database = TestDatabase::demo().await;
    let program = ServiceProcess::command();
    let mut limited = Command::new("sh");
    limited
        .args(["-c", r#"ulimit -Sn 64; ulimit -Hn 400; exec "$0""#])
        .arg(program.get_program())
        .env_clear()
        .envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("DATABASE_URL", database.url())
        .env("DATABASE_MAX_CONNECTIONS", "4");
    let mut service = ServiceProcess::spawn(&mut limited);
    // 400 files, less a reserve of 64, 4 database connections and 256 refused connections.
    service.line_with("allows 76 client connections");
    let url = service.url();
    let mut connections = Vec::new();
    for _ in 0..76 {
        let mut connection = Connection::open(&url).await.unwrap();
        let answer = connection.get("/users/2/orders").await.unwrap();
        assert_eq!(answer.status, 200);
        connections.push(connection);
    }
    let mut connection = Connection::open(&url).await.unwrap();
    let answer = connection.get("/users/2/orders").await.unwrap();
    answer.problem(503, "overloaded");
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn overload_gets_503_and_does_not_grow_memory() {
    let database = TestDatabase::demo().await;
    let mut service = service(
        &database,
        &[
            ("MAX_CONCURRENT_REQUESTS", "8"),
            // A slow machine must not cause timeouts.
            ("ACQUIRE_TIMEOUT", "1m"),
            ("STATEMENT_TIMEOUT", "1m"),
            ("REQUEST_TIMEOUT", "1m"),
        ],
    );
    let url = service.url();
    for _ in 0..20 {
        assert_serves(&url).await;
    }
    let before = service.memory();
    let is_over = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let refused = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..200 {
        let mut connection = Connection::open(&url).await.unwrap();
        let (is_over, served, refused) = (is_over.clone(), served.clone(), refused.clone());
        clients.spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let answer = connection.get("/users/1/orders").await.unwrap();
                let counter = if is_served(&answer) { &served } else { &refused };
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    wait_until("clients have many responses of either kind", async || {
        served.load(Ordering::Relaxed) > 100 && refused.load(Ordering::Relaxed) > 1000
    })
    .await;
    is_over.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert_serves(&url).await;
    let grown = service.memory().saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "{grown}");
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}
