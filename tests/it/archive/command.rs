//! `tenants export` and `tenants import`: files, standard input and output, exit statuses.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use nix::sys::signal::Signal;

use super::{command, export, forget};
use crate::existing_database::everything;
use crate::support::{ServiceProcess, TestDatabase, finished, wait_until};

const CONTENTS: &str =
    "client1 at version 3: 1 user, 3 rows in _tenant_orders_migrations, 2 rows in items, 2 rows in orders";

fn file_names(folder: &tempfile::TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn export_and_import_work_with_files_and_pipes() {
    let database = TestDatabase::demo().await;
    let folder = tempfile::tempdir().unwrap();
    let before = everything(&database).await;
    let (status, output, errors) = finished(&mut command(
        &database,
        &folder,
        &["export", "client1", "--output", "a.tar"],
    ));
    assert_eq!((status, output.as_str()), (Some(0), ""), "{errors}");
    assert!(errors.starts_with(&format!("exported {CONTENTS} (")), "{errors}");
    assert_eq!(file_names(&folder), ["a.tar"]);
    let file = fs::metadata(folder.path().join("a.tar")).unwrap();
    assert_eq!(
        file.permissions().mode() & 0o777,
        0o600,
        "an archive holds passwords"
    );
    assert_eq!(everything(&database).await, before);

    let export = command(&database, &folder, &["export", "client1"])
        .stdout(File::create(folder.path().join("b.tar")).unwrap())
        .status()
        .unwrap();
    assert_eq!(export.code(), Some(0));
    let [a, b] = ["a.tar", "b.tar"].map(|file| fs::metadata(folder.path().join(file)).unwrap().len());
    assert_eq!(a, b);

    forget(&database, "client1").await;
    let import = command(&database, &folder, &["import", "-"])
        .stdin(File::open(folder.path().join("b.tar")).unwrap())
        .output()
        .unwrap();
    assert_eq!(import.status.code(), Some(0));
    assert!(import.stdout.is_empty());
    assert!(
        String::from_utf8(import.stderr)
            .unwrap()
            .starts_with(&format!("imported {CONTENTS} ("))
    );
    forget(&database, "client1").await;
    let import = ["import", "a.tar", "--as", "a\"b", "--without-users"];
    let (status, _, errors) = finished(&mut command(&database, &folder, &import));
    assert_eq!(status, Some(1));
    assert!(
        errors.starts_with(
            "error: failed to create the archive's keys; the users of its orders and all other referenced tables must exist\n"
        ),
        "{errors}"
    );
    let (status, _, errors) = finished(&mut command(
        &database,
        &folder,
        &["import", "a.tar", "--as", "a\"b"],
    ));
    assert_eq!(status, Some(0), "{errors}");
    assert!(
        errors.starts_with("imported a\"b at version 3: 1 user, "),
        "{errors}"
    );
}

#[tokio::test]
async fn failures_are_reported_and_leave_no_file() {
    let database = TestDatabase::demo().await;
    let folder = tempfile::tempdir().unwrap();
    let nowhere = "postgres://127.0.0.1:1/x";
    database.execute("CREATE ROLE archive_unprivileged LOGIN").await;
    let unprivileged = database.url_as("archive_unprivileged");
    let (_, archive) = export(&database, "client1").await.unwrap();
    fs::write(folder.path().join("cut.tar"), &archive[..archive.len() - 1]).unwrap();
    fs::write(folder.path().join("whole.tar"), &archive).unwrap();
    let before = everything(&database).await;
    let url = database.url();
    for (arguments, url, code, message) in [
        (
            &["export", "missing", "--output", "x.tar"][..],
            &*url,
            1,
            "the schema does not exist",
        ),
        (
            &["export", "client1", "--output", "x.tar"],
            nowhere,
            1,
            "the database is unavailable",
        ),
        (
            &["export", "client1", "--output", "x.tar"],
            &unprivileged,
            1,
            "permission denied for",
        ),
        (
            &["export", "client1", "--output", "no/x.tar"],
            &url,
            1,
            "failed to open no/x.tar",
        ),
        (
            &["export", "client1", "--output", "/dev/null"],
            &url,
            2,
            "/dev/null is not a regular file",
        ),
        (&["export", "public"], &url, 1, "is reserved"),
        (&["export"], &url, 2, "<NAME>"),
        (&["import", "none.tar"], &url, 1, "failed to open none.tar"),
        (&["import", "."], &url, 1, "failed to read the archive"),
        (
            &["import", "cut.tar", "--as", "x"],
            &url,
            1,
            "the archive is truncated",
        ),
        (
            &["import", "whole.tar"],
            &url,
            1,
            "schema \"client1\" already exists",
        ),
        (
            &["import", "whole.tar", "--as", "x"],
            &url,
            1,
            "1 of the archive's users already exist with different data: 1",
        ),
        (
            &["import", "whole.tar", "--as", "x"],
            nowhere,
            1,
            "the database is unavailable",
        ),
        (
            &["import", "whole.tar", "--as", "x"],
            &unprivileged,
            1,
            "permission denied for database",
        ),
        (&["import", "whole.tar", "--as", "pg_x"], &url, 1, "is reserved"),
    ] {
        let (status, output, errors) =
            finished(command(&database, &folder, arguments).env("DATABASE_URL", url));
        assert_eq!(
            (status, output.as_str()),
            (Some(code), ""),
            "{arguments:?}: {errors}"
        );
        assert!(errors.contains(message), "{arguments:?}: {errors}");
    }
    assert_eq!(file_names(&folder), ["cut.tar", "whole.tar"]);
    assert_eq!(everything(&database).await, before);
}

#[tokio::test]
async fn stopped_export_keeps_the_previous_file() {
    let database = TestDatabase::demo().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    fs::write(&path, "previous").unwrap();
    let export = ["export", "client1", "--output", "a.tar"];
    let lock = database.lock("client1.items").await;
    let mut stopped = ServiceProcess::spawn(&mut command(&database, &folder, &export));
    database.service_is_blocked().await;
    assert_eq!(file_names(&folder).len(), 2);
    assert_eq!(stopped.stop(Signal::SIGTERM).code(), Some(1));
    lock.release().await;
    assert_eq!(file_names(&folder), ["a.tar"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "previous");
    let (status, _, errors) = finished(&mut command(&database, &folder, &export));
    assert_eq!(status, Some(0), "{errors}");
    assert!(fs::read(&path).unwrap().starts_with(b"SHA256SUMS"));
}

#[tokio::test]
async fn import_stops_at_a_signal_while_its_input_is_open() {
    let database = TestDatabase::demo().await;
    let (_, archive) = export(&database, "client1").await.unwrap();
    forget(&database, "client1").await;
    let before = everything(&database).await;
    let folder = tempfile::tempdir().unwrap();
    let mut import = command(&database, &folder, &["import", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = import.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, &archive[..archive.len() - 2048]).unwrap();
    let idle = "SELECT count(*)::text FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'tenant-orders' AND xact_start IS NOT NULL AND wait_event = 'ClientRead'";
    wait_until("the import waits for its input", async || {
        database.text(idle).await != "0"
    })
    .await;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(import.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    let mut status = None;
    wait_until("the import ends", async || {
        status = import.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert_eq!(status.unwrap().code(), Some(1));
    drop(input);
    let connected = "SELECT count(*)::text FROM pg_stat_activity
                     WHERE datname = current_database() AND application_name = 'tenant-orders'";
    wait_until("the import is disconnected", async || {
        database.text(connected).await == "0"
    })
    .await;
    assert_eq!(everything(&database).await, before);
}

#[tokio::test]
async fn export_to_a_closed_pipe_fails() {
    let database = TestDatabase::demo().await;
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command(&database, &folder, &["export", "client1"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.starts_with("error: failed to write the archive\n"),
        "{errors}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_export_is_kept_and_fails() {
    let database = TestDatabase::demo_with("CREATE VIEW client1.dear AS SELECT * FROM client1.items").await;
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["export", "client1", "--output", "a.tar"];
    let (status, _, errors) = finished(&mut command(&database, &folder, &arguments));
    assert_eq!(status, Some(1));
    assert!(
        errors.starts_with("warning: left out: view dear\nexported client1 "),
        "{errors}"
    );
    assert!(
        errors.ends_with("error: the archive is incomplete; see the warnings above\n"),
        "{errors}"
    );
    assert_eq!(file_names(&folder), ["a.tar"]);
}
