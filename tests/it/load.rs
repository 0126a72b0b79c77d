//! Overload, slow clients, and a stop while there is much to do.

use std::ops::ControlFlow;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use clap::Parser;
use nix::sys::signal::Signal;
use tenant_orders::config::ServeSettings;
use tenant_orders::server;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::client::Connection;
use crate::support::{Answer, ServiceProcess, TestDatabase};

/// A moment, for others to get on.
const MOMENT: Duration = Duration::from_millis(20);

/// The service over `database`, with other settings and without a line in the log for each request.
fn service(database: &TestDatabase, settings: &[(&str, &str)]) -> ServiceProcess {
    ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .env(
                "RUST_LOG",
                "warn,tenant_orders::server=info,tenant_orders::http=error",
            )
            .envs(settings.iter().copied()),
    )
}

/// Has an answer that no buffer holds, 40 MB of it.
async fn database_with_a_large_answer() -> TestDatabase {
    let database = TestDatabase::demo().await;
    database
        .execute(
            "UPDATE client1.items SET description = repeat('x', 100000);
             INSERT INTO client1.orders (id, quantity, user_id, item_id)
             SELECT 'more-' || number, 1, '1', '1' FROM generate_series(1, 400) AS number",
        )
        .await;
    database
}

const LARGE: &str = "GET /users/1/orders?limit=1000 HTTP/1.1\r\nhost: x\r\n\r\n";

/// Waits until `done`, for as long as it takes.
async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    tokio::time::timeout(Duration::from_mins(1), async {
        while !done().await {
            tokio::time::sleep(MOMENT).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{what}: it takes too long"));
}

async fn assert_serves(url: &str) {
    let mut connection = Connection::open(url).await.unwrap();
    let answer = connection.get("/users/2/orders").await.unwrap();
    assert_eq!(answer.ok()["total_due"], "10500.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_too_many_is_told_so_at_once() {
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
    // Those who are in are served.
    assert_eq!(idle[0].get("/users/2/orders").await.unwrap().status, 200);
    drop(idle);
    until("the places of those who went", async || {
        let mut connection = Connection::open(&url).await.unwrap();
        connection.get("/users/2/orders").await.unwrap().status == 200
    })
    .await;
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_are_turned_away_are_bounded_too() {
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
    until("a place", async || {
        let mut connection = Connection::open(&url).await.unwrap();
        connection
            .get("/users/2/orders")
            .await
            .is_ok_and(|answer| answer.status == 200)
    })
    .await;
    service.signal(Signal::SIGTERM);
    let told = service.read_to_end();
    let lines = told.matches("MAX_CLIENT_CONNECTIONS").count();
    assert!((1..100).contains(&lines), "{lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_open_files_is_raised_as_far_as_it_may_be() {
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
    // 400, without 64 to spare, 4 to the database and 256 of clients who are turned away.
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

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_keep_nobody_from_being_served() {
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
                        tokio::time::sleep(MOMENT).await;
                    }
                }
            }
            std::future::pending::<()>().await;
        });
    }
    for _ in 0..50 {
        assert_serves(&url).await;
    }
    // Nor do they keep the service from stopping.
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

/// The service in this process, so that time can be made to pass.
async fn serve_here(database: &TestDatabase) -> String {
    #[derive(Parser)]
    struct Settings {
        #[command(flatten)]
        serve: ServeSettings,
    }
    let settings = Settings::parse_from(["tenant-orders"]).serve;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let database = database.database();
    tokio::spawn(
        async move { server::run(listener, database, &settings, None, std::future::pending()).await },
    );
    url
}

async fn time_passes(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_client_that_sends_no_whole_request_is_given_up() {
    let database = TestDatabase::demo().await;
    let url = serve_here(&database).await;
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
    tokio::time::sleep(MOMENT).await;
    time_passes(Duration::from_secs(70)).await;
    tokio::time::sleep(MOMENT).await;
    assert!(!connections.iter().any(Connection::has_ended));
    time_passes(Duration::from_secs(6)).await;
    for mut connection in connections {
        connection.end().await;
    }
    assert_serves(&url).await;
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_given_up() {
    let database = database_with_a_large_answer().await;
    let url = serve_here(&database).await;
    let mut connection = Connection::narrow(&url).await.unwrap();
    connection.send(LARGE).await.unwrap();
    connection.read().await.unwrap();
    // Until the service can write no more.
    tokio::time::sleep(Duration::from_millis(500)).await;
    time_passes(Duration::from_secs(31)).await;
    tokio::time::sleep(MOMENT).await;
    let answer = connection.answer().await;
    assert!(answer.is_err(), "all of it came");
    assert_serves(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_head_is_bounded() {
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
        // It may be cut off before it was all sent.
        let _ = connection.send(&head).await;
        if let Ok(answer) = connection.answer().await {
            assert!([414, 431].contains(&answer.status.as_u16()), "{}", answer.status);
        }
        connection.end().await;
        assert_eq!(connection.received(), 0);
        assert_serves(&url).await;
    }
    // What is long and no longer than that is taken.
    let id = "x".repeat(8000);
    let mut connection = Connection::open(&url).await.unwrap();
    let answer = connection.get(&format!("/users/{id}/orders")).await.unwrap();
    answer.problem(404, "user-not-found");
    let as_many_as_may_be = "x-one: more\r\n".repeat(99);
    connection
        .send(format!(
            "GET /users/1/orders HTTP/1.1\r\nhost: x\r\n{as_many_as_may_be}\r\n"
        ))
        .await
        .unwrap();
    connection.answer().await.unwrap().ok();
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_sends_too_much_does_not_cost_it_the_answer() {
    let database = TestDatabase::demo().await;
    let mut service = service(&database, &[]);
    let url = service.url();
    let mut listened_to = 0;
    for _ in 0..20 {
        let mut connection = Connection::open(&url).await.unwrap();
        let mut request = b"GET /users/2/orders HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec();
        request.resize(40 * 1024, b'x');
        connection.send(request).await.unwrap();
        connection.answer().await.unwrap().ok();
        assert_eq!(connection.read().await.unwrap(), 0);
        // A reset would have come right behind the end.
        tokio::time::sleep(MOMENT).await;
        listened_to += usize::from(connection.send("x").await.is_ok());
    }
    // Not all: the service waits for a second only, and this machine may be slow.
    assert!(listened_to > 10, "{listened_to} of 20");
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

/// Checks that an answer is either of the two that there may be under load: whether it is the good
/// one.
fn is_served(answer: &Answer) -> bool {
    if answer.status == 503 {
        answer.problem(503, "overloaded");
        return false;
    }
    assert_eq!(answer.ok()["total_due"], "60000.00");
    true
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_it_takes_are_answered_that_it_is_too_much() {
    let database = TestDatabase::demo().await;
    let mut service = service(
        &database,
        &[
            ("MAX_CONCURRENT_REQUESTS", "8"),
            // So that whatever is slow on this machine is still no other answer.
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
    until("many answers of either kind", async || {
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

/// What clients saw of a service that stopped.
#[derive(Default)]
struct Seen {
    answers: AtomicUsize,
    /// New connections that ended before anything came back.
    unanswered: AtomicUsize,
}

/// One request after the other on a connection, until either side is to close it.
async fn ask_on_one_connection(mut connection: Connection, seen: Arc<Seen>) {
    loop {
        if connection.has_ended() {
            return;
        }
        let answer = connection.get("/users/1/orders").await;
        let answer = answer.unwrap_or_else(|error| panic!("cut off: {error}, {}", connection.received()));
        is_served(&answer);
        seen.answers.fetch_add(1, Ordering::Relaxed);
        if answer.header("connection") == Some("close") {
            connection.end().await;
            assert_eq!(connection.received(), 0);
            return;
        }
    }
}

/// A connection for each request, until none can be made.
async fn ask_on_many_connections(url: String, seen: Arc<Seen>) {
    loop {
        let Ok(mut connection) = Connection::open(&url).await else {
            return;
        };
        if ask_on_a_connection(&mut connection, &seen).await.is_break() {
            return;
        }
    }
}

async fn ask_on_a_connection(connection: &mut Connection, seen: &Seen) -> ControlFlow<()> {
    match connection.get("/users/1/orders").await {
        Ok(answer) => {
            is_served(&answer);
            seen.answers.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Continue(())
        }
        // The operating system took the connection on, and the service went before it could.
        Err(error) => {
            assert_eq!(connection.received(), 0, "cut off: {error}");
            seen.unanswered.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Break(())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_cuts_no_request_off() {
    let database = TestDatabase::demo().await;
    let mut unanswered = 0;
    for _ in 0..3 {
        let mut service = service(&database, &[("MAX_CONCURRENT_REQUESTS", "8")]);
        let url = service.url();
        let seen = Arc::new(Seen::default());
        let mut clients = JoinSet::new();
        for _ in 0..40 {
            let connection = Connection::open(&url).await.unwrap();
            clients.spawn(ask_on_one_connection(connection, seen.clone()));
        }
        for _ in 0..10 {
            clients.spawn(ask_on_many_connections(url.clone(), seen.clone()));
        }
        until("load", async || seen.answers.load(Ordering::Relaxed) > 1000).await;
        service.signal(Signal::SIGTERM);
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        unanswered += seen.unanswered.load(Ordering::Relaxed);
        assert_eq!(service.wait().code(), Some(0));
    }
    // No program can rule it out: it asks the operating system once more, and then closes.
    assert!(unanswered <= 3, "{unanswered} of 30");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_take_its_answer_does_not_hold_up_a_stop() {
    let database = database_with_a_large_answer().await;
    // Less than after which it would be given up anyway.
    let mut service = service(&database, &[("SHUTDOWN_TIMEOUT", "10s")]);
    let url = service.url();
    let mut connection = Connection::narrow(&url).await.unwrap();
    connection.send(LARGE).await.unwrap();
    connection.read().await.unwrap();
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
    assert!(connection.answer().await.is_err(), "all of it came");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_a_client_that_takes_its_answer_slowly() {
    let database = database_with_a_large_answer().await;
    let mut service = service(&database, &[]);
    let url = service.url();
    let mut connection = Connection::narrow(&url).await.unwrap();
    connection.send(LARGE).await.unwrap();
    connection.read().await.unwrap();
    service.signal(Signal::SIGTERM);
    let mut next = 0;
    let answer = loop {
        // A tenth of a second for each megabyte.
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
