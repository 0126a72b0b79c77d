//! Commands in a database with settings other than PostgreSQL's defaults.

use sqlx::Executor;

use super::{json, tenants};
use crate::support::{Service, ServiceProcess, TestDatabase, finished};

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_database_change_no_command() {
    let database = TestDatabase::existing().await;
    let name = database.name();
    let settings = [
        "quote_all_identifiers = on",
        "bytea_output = escape",
        "default_transaction_isolation = serializable",
        "standard_conforming_strings = off",
        "array_nulls = off",
        "xmloption = document",
        "extra_float_digits = -15",
        "DateStyle = 'German, DMY'",
        "IntervalStyle = sql_standard",
        "search_path = client2, public",
        "statement_timeout = '500ms'",
        "lock_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
    ]
    .map(|setting| format!("ALTER DATABASE {name} SET {setting}"));
    database.execute(settings.join("; ")).await;
    let migrate = |arguments: &[&str]| {
        let mut command = ServiceProcess::command();
        command
            .arg("migrate")
            .args(arguments)
            .env("DATABASE_URL", database.url());
        finished(&mut command)
    };
    // A migration waits longer than the database's statement timeout.
    let mut reader = database.connect().await;
    let lock = "SET statement_timeout TO 0; SET idle_in_transaction_session_timeout TO 0;
                BEGIN; LOCK client1.items IN ACCESS SHARE MODE";
    reader.execute(lock).await.unwrap();
    let reading = tokio::spawn(async move { reader.execute("SELECT pg_sleep(1); COMMIT").await });
    let (status, output, errors) = migrate(&["--adopt"]);
    assert_eq!(status, Some(0), "{output}{errors}");
    reading.await.unwrap().unwrap();
    for arguments in [&[] as &[&str], &["--dry-run"], &["--adopt"]] {
        let (status, output, errors) = migrate(arguments);
        assert_eq!(
            (status, output.as_str()),
            (Some(0), "2 tenants up to date\n"),
            "{errors}"
        );
    }
    let archive = tempfile::NamedTempFile::new().unwrap();
    let file = archive.path().to_str().unwrap();
    for arguments in [
        &["create", "fresh"] as &[&str],
        &["check", "--ignore-extra"],
        &["query", "SELECT count(*) FROM orders"],
        &["export", "client1", "--output", file],
        &["import", file, "--as", "copy", "--without-users"],
        &["check", "copy"],
        &["drop", "copy", "--yes"],
    ] {
        let (status, output, errors) = tenants(&database, arguments);
        assert_eq!(status, Some(0), "{arguments:?}: {output}{errors}");
    }
    let (_, listed) = json(&database, &["list"]);
    for tenant in listed.as_array().unwrap() {
        assert_eq!(tenant["state"], "current");
    }
    let page = Service::over(&database).get("/users/1/orders").await.ok();
    assert_eq!(page["total_due"], "60000.00");
}
