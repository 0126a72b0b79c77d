//! The service writes no files if `DATABASE_URL` is set.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::{ServiceProcess, TestDatabase, client, finished};

/// Returns a command that cannot write files, with `folder` as its only known folder.
fn without_file_writes(folder: &std::path::Path, database: &TestDatabase) -> Command {
    let program = ServiceProcess::command();
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"ulimit -f 0 && exec "$0" "$@""#])
        .arg(program.get_program())
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("PORT", "0")
        .env("DATABASE_URL", database.url());
    for variable in [
        "HOME",
        "TMPDIR",
        "XDG_DATA_HOME",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_STATE_HOME",
    ] {
        command.env(variable, folder);
    }
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn service_and_migration_write_no_files_with_a_database_url() {
    let database = TestDatabase::demo().await;
    let folder = tempfile::tempdir().unwrap();
    let mut service = ServiceProcess::spawn(&mut without_file_writes(folder.path(), &database));
    let address = service.url();
    service.line_with("the database is ready");
    let page = client::get(format!("{address}/users/1/orders"))
        .await
        .unwrap()
        .ok();
    assert_eq!(page["total_due"], "60000.00");
    let (status, _, errors) = finished(without_file_writes(folder.path(), &database).arg("migrate"));
    assert_eq!(status, Some(0), "{errors}");
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
