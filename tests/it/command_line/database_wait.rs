//! Commands that start before their database.

use std::time::Duration;

use crate::support::{Gateway, Route, ServiceProcess, TestDatabase, finished, shared_cluster};

#[tokio::test(flavor = "multi_thread")]
async fn migrate_and_seed_wait_for_a_database_that_is_not_up() {
    for arguments in [vec!["migrate"], vec!["seed", "demo"]] {
        let database = TestDatabase::empty().await;
        let gateway = Gateway::start(Route::Nowhere).await;
        let mut command = ServiceProcess::command();
        command
            .args(&arguments)
            .env("DATABASE_URL", gateway.url(database.name()))
            .env("DATABASE_WAIT", "50s");
        let mut process = ServiceProcess::spawn(&mut command);
        process.line_with("waiting up to 50s for the database: the database is unavailable");
        gateway.set(Route::To(shared_cluster().socket_folder(), Duration::ZERO));
        assert_eq!(
            process.wait().code(),
            Some(0),
            "{arguments:?}: {}",
            process.read_to_end()
        );
    }
}

#[test]
fn wait_for_a_database_is_bounded() {
    let mut command = ServiceProcess::command();
    command
        .arg("migrate")
        .env("DATABASE_URL", "postgres://user@127.0.0.1:1/nothing")
        .env("DATABASE_WAIT", "200ms");
    let (status, _, errors) = finished(&mut command);
    assert_eq!(status, Some(1));
    assert!(
        errors.contains("error: the database is unavailable\n"),
        "{errors}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_login_is_not_retried() {
    let database = TestDatabase::empty().await;
    let mut command = ServiceProcess::command();
    command
        .arg("migrate")
        .env("DATABASE_URL", database.url_as("no_such_role"))
        .env("DATABASE_WAIT", "1h");
    let (status, _, errors) = finished(&mut command);
    assert_eq!(status, Some(1));
    assert!(
        errors.contains("no_such_role") && !errors.contains("waiting"),
        "{errors}"
    );
}
