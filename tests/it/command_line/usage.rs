//! Flags, environment variables, help, completions and manual pages.

use std::process::Command;

use crate::support::{ServiceProcess, data_dir_for_a_test, finished};

#[test]
fn invalid_usage_is_named_and_exits_with_2() {
    for (arguments, expected) in [
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
        assert!(errors.contains(expected), "{arguments:?}: {errors}");
    }
}

#[test]
fn invalid_setting_is_named_with_the_expected_value() {
    for (arguments, (variable, value), expected) in [
        (
            vec![],
            ("PORT", "abc"),
            "'abc' for 'the variable PORT (flag --port <PORT>)': expected a whole number",
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
            "expected a whole number of at least 1",
        ),
        (
            vec!["--port=abc"],
            ("PORT", "1"),
            "'abc' for '--port <PORT>': expected a whole number",
        ),
        (
            vec!["--port", "abc"],
            ("PORT", ""),
            "'abc' for '--port <PORT>': expected a whole number",
        ),
    ] {
        let (status, _, errors) = finished(ServiceProcess::command().args(&arguments).env(variable, value));
        assert_eq!(status, Some(2), "{variable}={value}");
        assert!(errors.contains(expected), "{variable}={value}: {errors}");
    }
}

#[test]
fn invalid_number_of_threads_is_named() {
    for value in ["many", "0", "-1", "1000000"] {
        let mut command = ServiceProcess::command();
        let (status, _, errors) = finished(command.arg("migrate").env("TOKIO_WORKER_THREADS", value));
        assert_eq!(status, Some(2), "{errors}");
        let expected = "for the variable TOKIO_WORKER_THREADS: expected a whole number from 1 to 1024";
        assert!(errors.contains(expected), "{errors}");
        assert!(!errors.contains("panicked"), "{errors}");
    }
}

#[test]
fn too_many_threads_for_the_limits_are_an_error() {
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"ulimit -v 400000 && exec "$0" serve"#])
        .arg(ServiceProcess::command().get_program())
        .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
        .env("TOKIO_WORKER_THREADS", "1000");
    let (status, _, errors) = finished(&mut command);
    assert_eq!(status, Some(1), "{errors}");
    assert!(errors.contains("failed to start 1000 threads"), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
}

#[test]
fn empty_variables_count_as_unset() {
    let mut command = ServiceProcess::command();
    for variable in [
        "REQUEST_TIMEOUT",
        "MAX_CLIENT_CONNECTIONS",
        "LOG_FORMAT",
        "RUST_LOG",
        "TENANT_ROLES",
        "TOKIO_WORKER_THREADS",
    ] {
        command.env(variable, "");
    }
    let (status, _, errors) = finished(command.args(["migrate", "--database-url", "nonsense"]));
    assert_eq!(status, Some(2));
    assert!(errors.contains("nonsense") || errors.contains("URL"), "{errors}");
}

#[test]
fn empty_database_url_and_data_dir_count_as_unset() {
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
            .env("DATABASE_URL", "postgres://user@127.0.0.1:1/nothing")
            .env("DATA_DIR", ""),
    );
    assert_eq!(status, Some(1));
    assert!(errors.contains("the database is unavailable"), "{errors}");
}

#[test]
fn global_flags_are_allowed_before_and_after_the_command() {
    let url = "postgres://user@127.0.0.1:1/nothing";
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
    assert!(errors.contains("failed to write the manual pages to"), "{errors}");
}

#[test]
fn help_lists_all_settings_and_no_secret() {
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
        "CLIENT_IDLE_TIMEOUT",
        "SERVER_TIMING",
        "ADMIN_HOST",
        "ADMIN_PORT",
        "LOG_FORMAT",
        "RUST_LOG",
        "healthcheck",
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
fn broken_env_file_is_named_and_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join(".env"),
        "DATABASE_URL='postgres://me:hush@db/x\n",
    )
    .unwrap();
    let (status, _, errors) = finished(ServiceProcess::command().current_dir(folder.path()));
    assert_eq!(status, Some(2));
    assert!(errors.contains("failed to parse .env"), "{errors}");
    assert!(!errors.contains("hush"), "{errors}");
}

#[test]
fn invalid_database_url_is_rejected_and_not_printed() {
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
fn invalid_database_url_parameter_is_named() {
    for (url, parameter) in [
        (
            "postgres://me:hush@one,two/x?target_session_attrs=hush",
            "target_session_attrs",
        ),
        ("postgres:///x?host=one,two&port=1,2,3&password=hush", "port"),
        ("postgres://me:hush@one/x?sslrootcert=/missing", "/missing"),
        (
            "postgres://me:hush@one/x?sslmode=require&sslrootcert=system",
            "sslmode",
        ),
    ] {
        let (status, _, errors) = finished(ServiceProcess::command().env("DATABASE_URL", url));
        assert_eq!(status, Some(2), "{url}");
        assert!(errors.contains(parameter), "{errors}");
        assert!(!errors.contains("hush"), "{errors}");
    }
}
