//! Hazards of pending migrations.

use super::folder::{folder_with, run_with};
use crate::support::TestDatabase;

#[tokio::test]
async fn a_dry_run_reports_hazards_with_the_largest_table() {
    let database = TestDatabase::demo_with(
        "INSERT INTO client2.items SELECT n::text FROM generate_series(3, 5000) n; ANALYZE client1.items, client2.items",
    ).await;
    let folder = folder_with(&[(
        "tenant/0004_costs.sql",
        "ALTER TABLE items ADD note text;\n\nALTER TABLE items ALTER price TYPE numeric(12, 2);\nCREATE INDEX costs ON items (price);",
    )]);
    let (status, output, errors) = run_with(&database, &folder, &["migrate", "--dry-run"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    let hazards: Vec<_> = output
        .lines()
        .filter(|line| line.starts_with("hazard: "))
        .collect();
    assert_eq!(hazards.len(), 2, "{output}");
    assert!(
        hazards[0].starts_with("hazard: 4/costs, line 3: Changing a column type"),
        "{output}"
    );
    assert!(
        hazards[1].starts_with("hazard: 4/costs, line 4: During normal index creation"),
        "{output}"
    );
    for hazard in hazards {
        assert!(hazard.contains("(largest table: client2.items, "), "{output}");
    }
    // Only destructive statements need a permission.
    assert_eq!(run_with(&database, &folder, &["migrate"]).0, Some(0));
}

#[tokio::test]
async fn destructive_statements_need_a_permission() {
    let database = TestDatabase::demo().await;
    let folder = folder_with(&[
        ("shared/0002_regions.sql", "CREATE TABLE public.regions ();"),
        ("tenant/0004_notes.sql", "ALTER TABLE orders ADD note text;"),
        ("tenant/0005_no_notes.sql", "ALTER TABLE orders DROP COLUMN note;"),
    ]);
    let (status, output, errors) = run_with(&database, &folder, &["migrate"]);
    assert_eq!((status, output.as_str()), (Some(1), ""));
    assert!(
        errors.starts_with("error: refusing to run destructive statements:\n  5/no notes, line 1: "),
        "{errors}"
    );
    assert!(errors.ends_with("pass --allow-hazards to run them\n"), "{errors}");
    assert_eq!(
        database
            .text("SELECT COALESCE(to_regclass('public.regions')::text, '')")
            .await,
        ""
    );
    let (status, _, errors) = run_with(&database, &folder, &["migrate", "--allow-hazards"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
}

/// The size of a table cannot be read while the table is locked.
#[tokio::test]
async fn a_locked_table_does_not_block_the_hazards() {
    let database = TestDatabase::demo().await;
    let folder = folder_with(&[(
        "tenant/0004_costs.sql",
        "ALTER TABLE items ALTER price TYPE numeric(12, 2);",
    )]);
    let lock = database.lock("client1.items").await;
    // A table of another database can have the same number, as in a copy of this one.
    let copy = TestDatabase::demo().await;
    let lock_in_copy = copy.lock("client2.items").await;
    let (status, output, errors) = run_with(&database, &folder, &["migrate", "--dry-run"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert!(output.contains("(largest table: client2.items, "), "{output}");
    lock.release().await;
    lock_in_copy.release().await;
}
