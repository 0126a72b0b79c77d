//! Tenants of a folder of migrations: adoption, concurrent runs of different folders, archives.

use std::fs;

use tempfile::TempDir;

use super::fleet::old_fleet;
use super::folder::{folder_with, run_with};
use super::{run, run_over};
use crate::support::TestDatabase;

#[tokio::test]
async fn hazards_before_the_baseline_do_not_prevent_an_adoption() {
    // Not the compiled-in migration, with which each tenant is adopted at version 1.
    let tables = concat!(
        "-- Other migrations.\n",
        include_str!("../../../migrations/tenant/0001_items_and_orders.sql")
    );
    let database = TestDatabase::existing().await;
    let folder = folder_with(&[
        ("tenant/0001_items_and_orders.sql", tables),
        (
            "tenant/0002_exact_prices.sql",
            "CREATE TABLE old_notes (id bigint); DROP TABLE old_notes;",
        ),
        (
            "tenant/0003_orders_index.sql",
            "ALTER TABLE orders ADD COLUMN note text;",
        ),
    ]);
    let (status, output, errors) = run_with(&database, &folder, &["migrate", "--adopt", "--jobs", "1"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""), "{output}");
    assert!(output.contains("Adopted client1 at version 2\n"), "{output}");
    let dropped = ("tenant/0004_no_price.sql", "ALTER TABLE orders DROP COLUMN note;");
    fs::write(folder.path().join(dropped.0), dropped.1).unwrap();
    let (status, _, errors) = run_with(&database, &folder, &["migrate", "--adopt"]);
    assert_eq!(status, Some(1));
    assert!(errors.contains("--allow-hazards"), "{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_runs_with_different_folders_exclude_each_other() {
    let database = old_fleet(8).await;
    let [one, other] = ["one", "other"].map(|column| {
        let migration = format!("ALTER TABLE items ADD COLUMN from_{column} text;");
        folder_with(&[("tenant/0004_column.sql", &migration)])
    });
    let run_all = |folder: TempDir| {
        let url = database.url();
        tokio::task::spawn_blocking(move || {
            let folder = folder.path().to_str().unwrap();
            run_over(
                &url,
                &["migrate", "--json", "--jobs", "2", "--migrations", folder],
            )
        })
    };
    let runs = [run_all(one), run_all(other)];
    let columns =
        "SELECT string_agg(concat(c.relnamespace::regnamespace, ' ', a.attname), ' ' ORDER BY c.oid)
                   FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                   WHERE a.attname IN ('from_one', 'from_other') AND c.relname = 'items'";
    let mut applied = 0;
    for run in runs {
        let (status, output, errors) = run.await.unwrap();
        let lines: Vec<serde_json::Value> = output
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 8, "{output}{errors}");
        let (done, failed): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line["error"].is_null());
        applied += done.len();
        assert!(done.iter().all(|line| line["to"] == 4), "{output}");
        assert_eq!(status, Some(i32::from(!failed.is_empty())));
        for line in failed {
            let error = line["error"].as_str().unwrap();
            assert_eq!(
                error,
                "migration 4 (column) was changed after it was applied: its checksum differs; \
                 restore the text that was applied"
            );
        }
    }
    assert_eq!(applied, 8);
    let columns = database.text(columns).await;
    assert_eq!(
        columns.split(' ').count(),
        16,
        "one column for each tenant: {columns}"
    );
}

#[tokio::test]
async fn tenants_of_a_folder_are_exported_dropped_and_imported() {
    let database = TestDatabase::demo().await;
    let folder = folder_with(&[(
        "tenant/0004_notes.sql",
        "CREATE TABLE notes (id bigint PRIMARY KEY);
         CREATE INDEX notes_of_items ON items (description);",
    )]);
    assert_eq!(run_with(&database, &folder, &["migrate"]).0, Some(0));
    let archive = folder.path().join("client1.tar");
    let archive = archive.to_str().unwrap();
    let export = ["tenants", "export", "client1", "--output", archive];
    let (status, _, errors) = run(&database, &export);
    assert_eq!(status, Some(1));
    assert!(errors.contains("migration 4 is unknown"), "{errors}");
    let (status, _, errors) = run_with(&database, &folder, &export);
    assert_eq!(status, Some(0), "{errors}");
    let drop = ["tenants", "drop", "client1", "--yes", "--force"];
    assert_eq!(run_with(&database, &folder, &drop).0, Some(0));
    let import = ["tenants", "import", archive, "--without-users"];
    let (status, _, errors) = run(&database, &import);
    assert_eq!(status, Some(1));
    assert!(errors.contains("migration 4"), "{errors}");
    let (status, _, errors) = run_with(&database, &folder, &import);
    assert_eq!(status, Some(0), "{errors}");
    let (status, output, errors) = run_with(&database, &folder, &["tenants", "check"]);
    assert_eq!(status, Some(0), "{output}{errors}");

    // Only the folder knows that this schema is a tenant.
    database
        .execute("DROP TABLE client1.orders; DELETE FROM client1._tenant_orders_migrations WHERE version < 4")
        .await;
    let (status, _, errors) = run(&database, &drop);
    assert_eq!(status, Some(1));
    assert!(errors.contains("the schema is not a tenant"), "{errors}");
    assert_eq!(run_with(&database, &folder, &drop).0, Some(0));
}

#[tokio::test]
async fn a_migration_that_fails_on_the_rows_of_a_tenant_is_repeated() {
    let database = TestDatabase::demo_with(
        "UPDATE client1.orders SET quantity = 0; UPDATE client1.items SET description = 'Tesla'",
    )
    .await;
    let folder = folder_with(&[
        (
            "tenant/0004_check.sql",
            "ALTER TABLE orders ADD CHECK (quantity > -1);",
        ),
        (
            "tenant/0005_named.sql",
            "-- no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY items_named ON items (description);",
        ),
        (
            "tenant/0006_positive.sql",
            include_str!("../../../benches/ten/0010_positive_quantities.sql"),
        ),
    ]);
    let fails = |reason: &str, version: i64, state: &str| {
        let (status, _, errors) = run_with(&database, &folder, &["migrate"]);
        assert_eq!(status, Some(1));
        assert!(errors.contains(reason), "{errors}");
        assert!(errors.contains("1 of 2 tenants failed: client1"), "{errors}");
        let (_, listed, _) = run_with(&database, &folder, &["tenants", "list", "--json"]);
        for (tenant, version, state) in [("client1", version, state), ("client2", 6, "current")] {
            let expected = format!(r#""name":"{tenant}","users":1,"version":{version},"state":"{state}""#);
            assert!(listed.contains(&expected), "{listed}");
        }
    };
    fails("could not create unique index \"items_named\"", 4, "behind");
    let invalid = "SELECT count(*)::text FROM pg_index WHERE NOT indisvalid";
    assert_eq!(database.text(invalid).await, "0");
    database
        .execute("UPDATE client1.items SET description = id")
        .await;
    let reason = "check constraint \"orders_quantity_check\" of relation \"orders\" is violated by some row";
    fails(reason, 5, "interrupted");
    database.execute("UPDATE client1.orders SET quantity = 1").await;
    let (status, output, errors) = run_with(&database, &folder, &["migrate"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert!(output.starts_with("Repeated 6/positive to client1 ("), "{output}");
}
