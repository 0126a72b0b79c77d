//! Start and shutdown of the service.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{ServiceProcess, TestDatabase, client, finished, free_port, wait_until};

/// Returns the writing end of a closed pipe. All writes to it fail.
fn closed_pipe() -> std::process::Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn service_runs_with_closed_output_pipes() {
    let database = TestDatabase::demo().await;
    let port = free_port();
    let mut service = ServiceProcess::command()
        .env("DATABASE_URL", database.url())
        .env("PORT", port.to_string())
        .stdout(closed_pipe())
        .stderr(closed_pipe())
        .spawn()
        .unwrap();
    let url = format!("http://127.0.0.1:{port}/users/1/orders");
    let mut answer = client::get(url.clone()).await;
    wait_until("the service responds", async || {
        answer = client::get(url.clone()).await;
        answer.is_ok() || service.try_wait().unwrap().is_some()
    })
    .await;
    assert_eq!(answer.unwrap().ok()["total_due"], "60000.00");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(service.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    assert_eq!(service.wait().unwrap().code(), Some(0));
}

#[test]
fn address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (status, _, errors) = finished(
        ServiceProcess::command()
            .env("PORT", &port)
            .env("DATABASE_URL", "postgres://user@127.0.0.1:1/nothing"),
    );
    assert_eq!(status, Some(1));
    assert!(
        errors.contains(&format!("failed to listen on 127.0.0.1:{port}")),
        "{errors}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn service_starts_while_the_database_is_down() {
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", "postgres://user@127.0.0.1:1/nothing")
            .env("ACQUIRE_TIMEOUT", "100ms"),
    );
    let url = service.url();
    assert_eq!(client::get(format!("{url}/livez")).await.unwrap().status, 200);
    assert_eq!(client::get(format!("{url}/readyz")).await.unwrap().status, 503);
    service.line_with("waiting for the database; next check in 200.0ms");
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_finishes_the_requests_in_flight() {
    let database = TestDatabase::demo().await;
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut service = ServiceProcess::over(&database.url());
        let url = service.url();
        let lock = database.lock("client1.items").await;
        let in_flight = tokio::spawn(client::get(format!("{url}/users/1/orders")));
        database.service_is_blocked().await;
        service.signal(signal);
        // New connections are refused while the request in flight continues.
        wait_until("connections are refused", async || {
            client::get(format!("{url}/livez")).await.is_err()
        })
        .await;
        assert!(!in_flight.is_finished());
        lock.release().await;
        let answer = in_flight.await.unwrap().unwrap();
        assert_eq!(answer.ok()["total_due"], "60000.00");
        assert_eq!(service.wait().code(), Some(0));
    }
}

#[test]
fn partial_request_does_not_delay_shutdown() {
    use std::io::Write;
    let mut service = ServiceProcess::over("postgres://user@127.0.0.1:1/nothing");
    let address = service.url().strip_prefix("http://").unwrap().to_owned();
    let halves = [
        "",
        "G",
        "GET /livez HTTP/1.1\r\nhost: x\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
    ];
    let connections = halves.map(|half| {
        let mut connection = std::net::TcpStream::connect(&address).unwrap();
        connection.write_all(half.as_bytes()).unwrap();
        connection
    });
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
    drop(connections);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_timeout_and_second_signal_cut_off_requests() {
    for (timeout, signals, message) in [("100ms", 1, "were cut off"), ("1h", 2, "second signal")] {
        let database = TestDatabase::demo().await;
        let _lock = database.lock("client1.items").await;
        let mut service = ServiceProcess::spawn(
            ServiceProcess::command()
                .env("DATABASE_URL", database.url())
                .env("SHUTDOWN_TIMEOUT", timeout)
                .env("STATEMENT_TIMEOUT", "1m")
                .env("REQUEST_TIMEOUT", "1m"),
        );
        let url = service.url();
        let in_flight = tokio::spawn(client::get(format!("{url}/users/1/orders")));
        database.service_is_blocked().await;
        service.signal(Signal::SIGTERM);
        if signals == 2 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            service.signal(Signal::SIGTERM);
        }
        assert_eq!(service.wait().code(), Some(1));
        assert!(in_flight.await.unwrap().is_err());
        let log = service.read_to_end();
        assert!(log.contains(message), "{log}");
    }
}
