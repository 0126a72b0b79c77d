//! `--migrations DIR`.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::{run, run_over, without_durations};
use crate::support::TestDatabase;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");

/// Creates a folder with the repository's migrations and `files`.
pub(super) fn folder_with(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in ["shared", "tenant"] {
        fs::create_dir(folder.path().join(part)).unwrap();
        for file in fs::read_dir(Path::new(REPOSITORY).join(part)).unwrap() {
            let file = file.unwrap().path();
            fs::copy(&file, folder.path().join(part).join(file.file_name().unwrap())).unwrap();
        }
    }
    for (path, text) in files {
        fs::write(folder.path().join(path), text).unwrap();
    }
    folder
}

/// Runs a command with `folder`.
pub(super) fn run_with(
    database: &TestDatabase,
    folder: &TempDir,
    arguments: &[&str],
) -> (Option<i32>, String, String) {
    let folder = folder.path().to_str().unwrap();
    run(database, &[arguments, &["--migrations", folder]].concat())
}

#[tokio::test]
async fn the_repositorys_folder_works_unchanged() {
    let database = TestDatabase::demo().await;
    let folder = ["--migrations", REPOSITORY];
    for command in [&["migrate"][..], &["tenants", "check"], &["seed", "demo"]] {
        let (status, output, errors) = run(&database, &[command, &folder].concat());
        assert_eq!(status, Some(0), "{command:?}: {output}{errors}");
    }
    let existing = TestDatabase::existing().await;
    let (status, output, errors) = run(&existing, &[&["migrate", "--adopt"][..], &folder].concat());
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert!(output.contains("Adopted client1 at version 1\n"), "{output}");
}

#[tokio::test]
async fn all_commands_use_the_folder() {
    let database = TestDatabase::demo().await;
    let folder = folder_with(&[
        (
            "shared/0002_regions.sql",
            "CREATE TABLE public.regions (id bigint PRIMARY KEY);",
        ),
        ("tenant/0004_notes.sql", "ALTER TABLE items ADD COLUMN note text;"),
        (
            "tenant/0005_notes_index.up.sql",
            "-- no-transaction\nCREATE INDEX CONCURRENTLY items_note_idx ON items (note);",
        ),
        ("tenant/0005_notes_index.down.sql", "DROP INDEX items_note_idx;"),
        ("tenant/README.md", "ignored"),
    ]);
    let (status, output, errors) = run_with(&database, &folder, &["migrate", "--jobs", "1"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert_eq!(
        without_durations(&output),
        "Applied 2/regions to public\n\
         Applied 4/notes to client1\n\
         Applied 5/notes index to client1\n\
         Applied 4/notes to client2\n\
         Applied 5/notes index to client2\n\
         2 tenants migrated\n"
    );
    assert_eq!(
        run_with(&database, &folder, &["tenants", "create", "fresh"]).0,
        Some(0)
    );
    assert_eq!(run_with(&database, &folder, &["tenants", "check"]).0, Some(0));
    let (_, listed, _) = run_with(&database, &folder, &["tenants", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    for tenant in listed.as_array().unwrap() {
        assert_eq!(
            (&tenant["version"], &tenant["state"]),
            (&json!(5), &json!("current"))
        );
    }
    assert_eq!(
        run_with(&database, &folder, &["seed", "bulk", "--tenants", "1"]).0,
        Some(0)
    );
    assert_eq!(
        run_with(&database, &folder, &["tenants", "check", "t1"]).0,
        Some(0)
    );
    // Without the folder, the tenants are ahead.
    let (_, listed, _) = run(&database, &["tenants", "list", "--json"]);
    assert!(listed.contains(r#""state":"ahead""#), "{listed}");
    let (status, _, errors) = run(&database, &["migrate"]);
    assert_eq!(status, Some(1));
    assert!(errors.contains("migration 2 is unknown"), "{errors}");
}

#[test]
fn invalid_folders_are_refused_before_anything_is_executed() {
    let nowhere = "postgres://user@127.0.0.1:1/none";
    for (path, content, reason) in [
        (
            "tenant/0004_empty.sql",
            &b"-- only a comment\n"[..],
            "contains no statement",
        ),
        (
            "tenant/0004_latin1.sql",
            b"SELECT '\xe9'",
            "stream did not contain valid UTF-8",
        ),
        ("tenant/4_notes.sql", b"SELECT 1", "have the same version"),
        (
            "tenant/notes.sql",
            b"SELECT 1",
            "is not a valid name of a migration",
        ),
        (
            "tenant/0000_notes.sql",
            b"SELECT 1",
            "is not a valid name of a migration",
        ),
        (
            "tenant/x4_notes.sql",
            b"SELECT 1",
            "is not a valid name of a migration",
        ),
        (
            "tenant/0004_index.sql",
            b"-- no-transaction\nCREATE INDEX CONCURRENTLY ON items (price)",
            "creates an index without a name",
        ),
    ] {
        let folder = folder_with(&[("tenant/0004_a.sql", "SELECT 1")]);
        if !reason.contains("same version") {
            fs::remove_file(folder.path().join("tenant/0004_a.sql")).unwrap();
        }
        fs::write(folder.path().join(path), content).unwrap();
        let name = folder.path().to_str().unwrap();
        for command in [
            &["migrate"][..],
            &["tenants", "create", "x"],
            &["tenants", "list"],
            &["seed", "demo"],
        ] {
            let (status, output, errors) = run_over(nowhere, &[command, &["--migrations", name]].concat());
            assert_eq!((status, output.as_str()), (Some(2), ""), "{errors}");
            assert!(
                errors.contains(path) && errors.contains(reason),
                "{path}: {errors}"
            );
        }
    }
    let unreadable = folder_with(&[]);
    fs::create_dir(unreadable.path().join("tenant/0004_notes.sql")).unwrap();
    let name = unreadable.path().to_str().unwrap();
    let (status, output, errors) = run_over(nowhere, &["migrate", "--migrations", name]);
    assert_eq!((status, output.as_str()), (Some(2), ""));
    assert!(
        errors.contains(&format!("failed to read {name}/tenant/0004_notes.sql")),
        "{errors}"
    );
    let folder = tempfile::tempdir().unwrap();
    let (status, _, errors) = run_over(
        nowhere,
        &["migrate", "--migrations", folder.path().to_str().unwrap()],
    );
    assert_eq!(status, Some(2));
    assert!(
        errors.contains("failed to read") && errors.contains("shared"),
        "{errors}"
    );
}

#[tokio::test]
async fn a_changed_or_missing_file_is_refused() {
    let database = TestDatabase::demo().await;
    let note = ("tenant/0004_notes.sql", "ALTER TABLE items ADD COLUMN note text;");
    assert_eq!(
        run_with(&database, &folder_with(&[note]), &["migrate"]).0,
        Some(0)
    );
    let changed = folder_with(&[(
        "tenant/0004_notes.sql",
        "ALTER TABLE items ADD COLUMN remark text;",
    )]);
    let (status, _, errors) = run_with(&database, &changed, &["migrate"]);
    assert_eq!(status, Some(1));
    assert!(
        errors.contains("migration 4 (notes) was changed after it was applied"),
        "{errors}"
    );
    let (status, _, errors) = run_with(&database, &folder_with(&[]), &["migrate"]);
    assert_eq!(status, Some(1));
    assert!(errors.contains("migration 4 is unknown"), "{errors}");
}

#[tokio::test]
async fn schemas_are_adopted_at_the_newest_version_that_they_have() {
    let database = TestDatabase::empty().await;
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("shared", ""),
        ("tenant", ""),
        (
            "shared/1_users.sql",
            "CREATE TABLE IF NOT EXISTS public.users (id text PRIMARY KEY, name text, organization_id text);",
        ),
        (
            "tenant/1_items.sql",
            "CREATE TABLE items (id text PRIMARY KEY, creation_timestamp timestamp, description text, price numeric);",
        ),
        (
            "tenant/2_orders.sql",
            "CREATE TABLE orders (id text PRIMARY KEY, creation_timestamp timestamp, quantity integer, user_id text, item_id text);",
        ),
        ("tenant/3_notes.sql", "ALTER TABLE orders ADD COLUMN note text;"),
    ] {
        let path = folder.path().join(path);
        if text.is_empty() {
            fs::create_dir(path).unwrap();
        } else {
            fs::write(path, text).unwrap();
        }
    }
    assert_eq!(run_with(&database, &folder, &["migrate"]).0, Some(0));
    let tables = |schema: &str| {
        format!(
            "CREATE SCHEMA {schema}; INSERT INTO public.users VALUES ('{schema}', NULL, '{schema}');
             CREATE TABLE {schema}.items (id text PRIMARY KEY, creation_timestamp timestamp, description text, price numeric);
             CREATE TABLE {schema}.orders (id text PRIMARY KEY, creation_timestamp timestamp, quantity integer, user_id text, item_id text);"
        )
    };
    let [one, two, three] = ["at2", "at3", "other"].map(tables);
    database
        .execute(format!(
            "{one}{two}{three} ALTER TABLE at3.orders ADD note text; CREATE TABLE at3.extra (a int);
             ALTER TABLE other.items DROP price"
        ))
        .await;
    let (status, output, errors) = run_with(&database, &folder, &["migrate", "--adopt", "--jobs", "1"]);
    assert_eq!(status, Some(1));
    assert_eq!(
        without_durations(&output),
        "Adopted at2 at version 2\nApplied 3/notes to at2\nAdopted at3 at version 3; kept: table extra\n2 tenants migrated\n"
    );
    assert!(
        errors.contains("other: error: the schema cannot be adopted: items.price is missing (numeric)"),
        "{errors}"
    );
    database
        .execute("ALTER TABLE other.items ADD price integer")
        .await;
    let (status, output, errors) = run_with(&database, &folder, &["migrate", "--adopt-at", "2"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert!(output.starts_with("Adopted other at version 2\n"), "{output}");
    let (status, _, errors) = run_with(&database, &folder, &["migrate", "--adopt-at", "2", "--adopt"]);
    assert_eq!(status, Some(2), "{errors}");
}
