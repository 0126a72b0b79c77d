//! The commands: files, standard input and output, exit statuses.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use nix::sys::signal::Signal;

use super::{command, export, forget};
use crate::existing_database::everything;
use crate::support::{ServiceProcess, TestDatabase, finished};

const TOLD: &str =
    "client1 at version 2: 1 user, 2 rows in _sqlx_migrations, 2 rows in items, 2 rows in orders";

fn names_in(folder: &tempfile::TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_tenant_goes_through_files_and_pipes() {
    let database = TestDatabase::demo().await;
    let folder = tempfile::tempdir().unwrap();
    let before = everything(&database).await;
    let (status, output, errors) = finished(&mut command(
        &database,
        &folder,
        &["export", "client1", "--output", "a.tar"],
    ));
    assert_eq!((status, output.as_str()), (Some(0), ""), "{errors}");
    assert!(errors.starts_with(&format!("exported {TOLD} (")), "{errors}");
    assert_eq!(names_in(&folder), ["a.tar"]);
    let file = fs::metadata(folder.path().join("a.tar")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600, "it holds passwords");
    assert_eq!(everything(&database).await, before);

    let written = command(&database, &folder, &["export", "client1"])
        .stdout(File::create(folder.path().join("b.tar")).unwrap())
        .status()
        .unwrap();
    assert_eq!(written.code(), Some(0));
    let [a, b] = ["a.tar", "b.tar"].map(|file| fs::metadata(folder.path().join(file)).unwrap().len());
    assert_eq!(a, b);

    forget(&database, "client1").await;
    let read = command(&database, &folder, &["import", "-"])
        .stdin(File::open(folder.path().join("b.tar")).unwrap())
        .output()
        .unwrap();
    assert_eq!(read.status.code(), Some(0));
    assert!(read.stdout.is_empty());
    assert!(
        String::from_utf8(read.stderr)
            .unwrap()
            .starts_with(&format!("imported {TOLD} ("))
    );
    forget(&database, "client1").await;
    let import = ["import", "a.tar", "--as", "a\"b", "--without-users"];
    let (status, _, errors) = finished(&mut command(&database, &folder, &import));
    assert_eq!(status, Some(1));
    assert!(
        errors.starts_with(
            "error: the archive's keys cannot be made in this database, as where users are missing\n"
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
        errors.starts_with("imported a\"b at version 2: 1 user, "),
        "{errors}"
    );
}

#[tokio::test]
async fn whatever_fails_is_told_and_leaves_no_file() {
    let database = TestDatabase::demo().await;
    let folder = tempfile::tempdir().unwrap();
    let nowhere = "postgres://127.0.0.1:1/x";
    database.execute("CREATE ROLE archive_nobody LOGIN").await;
    let nobody = database.url_as("archive_nobody");
    let (_, archive) = export(&database, "client1").await.unwrap();
    fs::write(folder.path().join("cut.tar"), &archive[..archive.len() - 1]).unwrap();
    fs::write(folder.path().join("whole.tar"), &archive).unwrap();
    let before = everything(&database).await;
    let url = database.url();
    for (arguments, url, code, told) in [
        (
            &["export", "nobody", "--output", "x.tar"][..],
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
            &nobody,
            1,
            "permission denied for",
        ),
        (
            &["export", "client1", "--output", "no/x.tar"],
            &url,
            1,
            "cannot use no/x.tar",
        ),
        (
            &["export", "client1", "--output", "/dev/null"],
            &url,
            2,
            "/dev/null is no file",
        ),
        (&["export", "public"], &url, 1, "it is reserved"),
        (&["export"], &url, 2, "<NAME>"),
        (&["import", "none.tar"], &url, 1, "cannot use none.tar"),
        (&["import", "."], &url, 1, "the archive cannot be read"),
        (&["import", "cut.tar", "--as", "x"], &url, 1, "cut short"),
        (
            &["import", "whole.tar"],
            &url,
            1,
            "the schema \"client1\" exists already",
        ),
        (
            &["import", "whole.tar", "--as", "x"],
            &url,
            1,
            "1 of the archive's users exist already and are not the same: 1",
        ),
        (
            &["import", "whole.tar", "--as", "x"],
            nowhere,
            1,
            "the database is unavailable",
        ),
        (
            &["import", "whole.tar", "--as", "x"],
            &nobody,
            1,
            "permission denied for database",
        ),
        (
            &["import", "whole.tar", "--as", "pg_x"],
            &url,
            1,
            "it is reserved",
        ),
    ] {
        let (status, output, errors) =
            finished(command(&database, &folder, arguments).env("DATABASE_URL", url));
        assert_eq!(
            (status, output.as_str()),
            (Some(code), ""),
            "{arguments:?}: {errors}"
        );
        assert!(errors.contains(told), "{arguments:?}: {errors}");
    }
    assert_eq!(names_in(&folder), ["cut.tar", "whole.tar"]);
    assert_eq!(everything(&database).await, before);
}

#[tokio::test]
async fn a_file_is_replaced_by_a_whole_one_alone() {
    let database = TestDatabase::demo().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    fs::write(&path, "the last one").unwrap();
    let export = ["export", "client1", "--output", "a.tar"];
    let lock = database.lock("client1.items").await;
    let mut stopped = ServiceProcess::spawn(&mut command(&database, &folder, &export));
    database.service_is_blocked().await;
    assert_eq!(names_in(&folder).len(), 2);
    assert_eq!(stopped.stop(Signal::SIGTERM).code(), Some(1));
    lock.release().await;
    assert_eq!(names_in(&folder), ["a.tar"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "the last one");
    let (status, _, errors) = finished(&mut command(&database, &folder, &export));
    assert_eq!(status, Some(0), "{errors}");
    assert!(fs::read(&path).unwrap().starts_with(b"SHA256SUMS"));
}

/// A pipe whose writer has more to write, some day.
#[tokio::test]
async fn an_import_ends_at_a_signal_though_its_input_does_not() {
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
    while database.text(idle).await == "0" {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(import.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    assert_eq!(import.wait().unwrap().code(), Some(1));
    drop(input);
    let connected = "SELECT count(*)::text FROM pg_stat_activity
                     WHERE datname = current_database() AND application_name = 'tenant-orders'";
    while database.text(connected).await != "0" {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(everything(&database).await, before);
}

#[tokio::test]
async fn an_export_that_nobody_reads_fails() {
    let database = TestDatabase::demo().await;
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let done = command(&database, &folder, &["export", "client1"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(1));
    let errors = String::from_utf8(done.stderr).unwrap();
    assert!(
        errors.starts_with("error: the archive cannot be written\n"),
        "{errors}"
    );
}
