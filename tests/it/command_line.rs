//! The program as its users run it: usage, settings, start, stop.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use nix::sys::signal::Signal;

use crate::support::client;
use crate::support::{ServiceProcess, TestDatabase, data_dir_for_a_test, finished};

#[test]
fn wrong_usage_is_named_and_ends_with_2() {
    for (arguments, told) in [
        (vec!["--port", "many"], "--port"),
        (vec!["--acquire-timeout", "5"], "--acquire-timeout"),
        (vec!["--request-timeout", "0s"], "--request-timeout"),
        (
            vec!["--max-concurrent-requests", "0"],
            "--max-concurrent-requests",
        ),
        (vec!["--max-client-connections", "0"], "--max-client-connections"),
        (
            vec!["--database-max-connections", "0"],
            "--database-max-connections",
        ),
        (vec!["--log-filter", "a=b=c"], "--log-filter"),
        (vec!["--log-format", "xml"], "--log-format"),
        (vec!["launch"], "launch"),
        (vec!["seed"], "seed"),
        (vec!["tenants"], "tenants"),
        (vec!["tenants", "drop", "--yes"], "NAME"),
        (vec!["seed", "bulk", "--tenants", "0"], "--tenants"),
        (vec!["seed", "bulk", "--tenants", "x"], "--tenants"),
        (vec!["completions", "dos"], "[possible values: bash"),
        (vec!["completions"], "SHELL"),
    ] {
        let (status, _, errors) = finished(ServiceProcess::command().args(&arguments));
        assert_eq!(status, Some(2), "{arguments:?}");
        assert!(errors.contains(told), "{arguments:?}: {errors}");
    }
}

#[test]
fn a_wrong_setting_is_named_with_what_was_expected() {
    for (arguments, (variable, value), told) in [
        (
            vec![],
            ("PORT", "abc"),
            "'abc' for 'the variable PORT (flag --port <PORT>)': a whole number is expected",
        ),
        (
            vec![],
            ("PORT", "70000"),
            "the variable PORT (flag --port <PORT>)': 70000 is not in 0..=65535",
        ),
        (
            vec!["migrate"],
            ("LOG_FORMAT", "xml"),
            "the variable LOG_FORMAT (flag --log-format <FORMAT>)'\n  [possible values: pretty, json]",
        ),
        (
            vec!["serve"],
            ("STATEMENT_TIMEOUT", "soon"),
            "'soon' for 'the variable STATEMENT_TIMEOUT (flag --statement-timeout <DURATION>)'",
        ),
        (
            vec!["serve"],
            ("MAX_CONCURRENT_REQUESTS", "0"),
            "a whole number of at least 1 is expected",
        ),
        (
            vec!["--port=abc"],
            ("PORT", "1"),
            "'abc' for '--port <PORT>': a whole number is expected",
        ),
        (
            vec!["--port", "abc"],
            ("PORT", ""),
            "'abc' for '--port <PORT>': a whole number is expected",
        ),
    ] {
        let (status, _, errors) = finished(ServiceProcess::command().args(&arguments).env(variable, value));
        assert_eq!(status, Some(2), "{variable}={value}");
        assert!(errors.contains(told), "{variable}={value}: {errors}");
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let mut command = ServiceProcess::command();
    for variable in [
        "REQUEST_TIMEOUT",
        "MAX_CLIENT_CONNECTIONS",
        "LOG_FORMAT",
        "RUST_LOG",
        "TENANT_ROLES",
    ] {
        command.env(variable, "");
    }
    let (status, _, errors) = finished(command.args(["migrate", "--database-url", "nonsense"]));
    assert_eq!(status, Some(2));
    assert!(errors.contains("nonsense") || errors.contains("URL"), "{errors}");
}

#[test]
fn what_all_commands_take_goes_before_the_command_or_behind_it() {
    let url = "postgres://nobody@127.0.0.1:1/nothing";
    for arguments in [
        ["--log-format", "json", "migrate"],
        ["migrate", "--log-format", "json"],
    ] {
        let mut command = ServiceProcess::command();
        let (status, _, errors) = finished(command.args(arguments).env("DATABASE_URL", url));
        assert_eq!(status, Some(1), "{arguments:?}: {errors}");
    }
    for arguments in [["--port", "1", "migrate"], ["--host", "localhost", "serve"]] {
        let (status, _, errors) = finished(ServiceProcess::command().args(arguments));
        assert_eq!(status, Some(2));
        assert!(errors.contains("cannot be used with the command"), "{errors}");
    }
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (status, output, errors) = finished(ServiceProcess::command().args(["completions", shell]));
        assert_eq!((status, errors.as_str()), (Some(0), ""));
        for word in [
            "migrate",
            "tenants",
            "drop",
            "--log-format",
            "--max-concurrent-requests",
        ] {
            assert!(output.contains(word.trim_start_matches("--")), "{shell}: {word}");
        }
    }
    let folder = data_dir_for_a_test();
    std::fs::create_dir(&folder).unwrap();
    let (status, ..) = finished(ServiceProcess::command().arg("man").arg(&folder));
    assert_eq!(status, Some(0));
    for page in [
        "tenant-orders.1",
        "tenant-orders-migrate.1",
        "tenant-orders-tenants-drop.1",
    ] {
        let text = std::fs::read_to_string(folder.join(page)).unwrap();
        assert!(text.starts_with(".ie") && text.contains(".SH NAME"), "{page}");
    }
    let (status, _, errors) = finished(ServiceProcess::command().arg("man").arg(folder.join("missing")));
    assert_eq!(status, Some(1));
    assert!(errors.contains("cannot write the manual pages into"), "{errors}");
}

#[test]
fn help_and_version_are_told_and_hold_no_secret() {
    let (status, output, _) = finished(
        ServiceProcess::command()
            .arg("--help")
            .env("DATABASE_URL", "postgres://me:hush@db.example.com/x"),
    );
    assert_eq!(status, Some(0));
    assert!(!output.contains("hush"), "{output}");
    for setting in [
        "DATABASE_URL",
        "DATA_DIR",
        "HOST",
        "PORT",
        "DATABASE_MAX_CONNECTIONS",
        "DATABASE_STATEMENT_CACHE",
        "ACQUIRE_TIMEOUT",
        "STATEMENT_TIMEOUT",
        "REQUEST_TIMEOUT",
        "SHUTDOWN_TIMEOUT",
        "MAX_CONCURRENT_REQUESTS",
        "MAX_CLIENT_CONNECTIONS",
        "LOG_FORMAT",
        "RUST_LOG",
        "migrate",
        "seed",
        "serve",
        "tenants",
    ] {
        assert!(output.contains(setting), "{setting}");
    }
    assert_eq!(
        finished(ServiceProcess::command().arg("--version")).1,
        concat!("tenant-orders ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn a_database_url_that_cannot_be_used_is_refused_and_not_shown() {
    for url in [
        "mysql://me:hush@db/x",
        "me:hush@db",
        "postgres://me:hush@db:port/x",
    ] {
        let (status, _, errors) = finished(ServiceProcess::command().env("DATABASE_URL", url));
        assert_eq!(status, Some(2), "{url}");
        assert!(errors.contains("DATABASE_URL"), "{errors}");
        assert!(!errors.contains("hush"), "{errors}");
    }
}

#[test]
fn a_database_url_with_several_hosts_is_refused_with_what_to_do() {
    for url in [
        "postgres://me:hush@one:5432,two:5432/x",
        "postgres://me:hush@one,two/x",
        "postgres:///x?host=one,two&password=hush",
    ] {
        let (status, _, errors) = finished(ServiceProcess::command().env("DATABASE_URL", url));
        assert_eq!(status, Some(2), "{url}");
        assert!(errors.contains("names several hosts"), "{errors}");
        assert!(!errors.contains("hush"), "{errors}");
    }
}

/// Both ends of a closed pipe: what is written to it is lost, and a write to it fails.
fn nobody_reads() -> std::process::Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_though_nobody_reads_its_log() {
    let database = TestDatabase::demo().await;
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let mut service = ServiceProcess::command()
        .env("DATABASE_URL", database.url())
        .env("PORT", port.to_string())
        .stdout(nobody_reads())
        .stderr(nobody_reads())
        .spawn()
        .unwrap();
    let url = format!("http://127.0.0.1:{port}/users/1/orders");
    let mut answer = client::get(url.clone()).await;
    while answer.is_err() && service.try_wait().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        answer = client::get(url.clone()).await;
    }
    assert_eq!(answer.unwrap().ok()["total_due"], "60000.00");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(service.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    assert_eq!(service.wait().unwrap().code(), Some(0));
}

#[test]
fn a_broken_env_file_is_named_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join(".env"),
        "DATABASE_URL='postgres://me:hush@db/x\n",
    )
    .unwrap();
    let (status, _, errors) = finished(ServiceProcess::command().current_dir(folder.path()));
    assert_eq!(status, Some(2));
    assert!(errors.contains("the file .env"), "{errors}");
    assert!(!errors.contains("hush"), "{errors}");
}

#[test]
fn an_empty_variable_is_as_good_as_none() {
    let too_long = "x".repeat(110);
    let (status, _, errors) = finished(
        ServiceProcess::command()
            .arg("migrate")
            .env("DATABASE_URL", "")
            .env("DATA_DIR", &too_long),
    );
    assert_eq!(status, Some(1));
    assert!(errors.contains("set DATA_DIR to a shorter one"), "{errors}");
    let (status, _, errors) = finished(
        ServiceProcess::command()
            .arg("migrate")
            .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing")
            .env("DATA_DIR", ""),
    );
    assert_eq!(status, Some(1));
    assert!(errors.contains("the database is unavailable"), "{errors}");
}

#[test]
fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (status, _, errors) = finished(
        ServiceProcess::command()
            .env("PORT", &port)
            .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing"),
    );
    assert_eq!(status, Some(1));
    assert!(
        errors.contains(&format!("cannot listen on 127.0.0.1:{port}")),
        "{errors}"
    );
}

#[test]
fn a_command_on_a_database_that_is_down_fails_and_says_why() {
    for arguments in [vec!["migrate"], vec!["seed", "demo"], vec!["seed", "bulk"]] {
        let (status, _, errors) = finished(
            ServiceProcess::command()
                .args(&arguments)
                .env("DATABASE_URL", "postgres://me:hush@127.0.0.1:1/nothing"),
        );
        assert_eq!(status, Some(1), "{arguments:?}");
        assert!(
            errors.starts_with("error: the database is unavailable\n"),
            "{errors}"
        );
        assert!(errors.contains("refused"), "{errors}");
        assert!(!errors.contains("hush"), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_while_the_database_is_down() {
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing")
            .env("ACQUIRE_TIMEOUT", "100ms"),
    );
    let url = service.url();
    assert_eq!(client::get(format!("{url}/livez")).await.unwrap().status, 200);
    assert_eq!(client::get(format!("{url}/readyz")).await.unwrap().status, 503);
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_logged_once_with_its_cause_and_request_id() {
    let database = TestDatabase::demo().await;
    database
        .execute("INSERT INTO public.users (id, organization_id) VALUES ('x', 'missing')")
        .await;
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .env("LOG_FORMAT", "json"),
    );
    let url = service.url();
    let request = Request::get(format!("{url}/users/x/orders")).header("x-request-id", "the-one");
    let answer = client::send(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status, 503);
    service.signal(Signal::SIGTERM);
    let told = service.all_it_told();
    let failures: Vec<serde_json::Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["level"] == "WARN" || line["level"] == "ERROR")
        .filter(|line| line["target"] != "tenant_orders::cli::serve") // that nobody is asked for a token
        .collect();
    assert_eq!(failures.len(), 1, "{told}");
    assert_eq!(failures[0]["problem"], "tenant-unavailable");
    assert_eq!(failures[0]["span"]["request_id"], "the-one");
    let cause = failures[0]["cause"].as_str().unwrap();
    assert!(
        cause.contains("\"missing\"") && cause.contains("relation \"orders\" does not exist"),
        "{cause}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_the_requests_under_way() {
    let database = TestDatabase::demo().await;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut service = ServiceProcess::over(&database.url());
        let url = service.url();
        let lock = database.lock("client1.items").await;
        let under_way = tokio::spawn(client::get(format!("{url}/users/1/orders")));
        database.service_is_blocked().await;
        service.signal(signal);
        // No more are taken on, and the one under way is still waited for.
        while client::get(format!("{url}/livez")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!under_way.is_finished());
        lock.release().await;
        let answer = under_way.await.unwrap().unwrap();
        assert_eq!(answer.ok()["total_due"], "60000.00");
        assert_eq!(service.wait().code(), Some(0));
    }
}

#[test]
fn half_a_request_does_not_hold_up_a_stop() {
    use std::io::Write;
    let mut service = ServiceProcess::over("postgres://nobody@127.0.0.1:1/nothing");
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
async fn a_stop_that_takes_too_long_or_is_asked_for_twice_cuts_off_and_says_so() {
    for (timeout, signals, told) in [("100ms", 1, "were cut off"), ("1h", 2, "second signal")] {
        let database = TestDatabase::demo().await;
        let _lock = database.lock("client1.items").await;
        let mut service = ServiceProcess::spawn(
            ServiceProcess::command()
                .env("DATABASE_URL", database.url())
                .env("SHUTDOWN_TIMEOUT", timeout),
        );
        let url = service.url();
        let under_way = tokio::spawn(client::get(format!("{url}/users/1/orders")));
        database.service_is_blocked().await;
        service.signal(Signal::SIGTERM);
        if signals == 2 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            service.signal(Signal::SIGTERM);
        }
        assert_eq!(service.wait().code(), Some(1));
        assert!(under_way.await.unwrap().is_err());
        let all = service.all_it_told();
        assert!(all.contains(told), "{all}");
    }
}
