//! Migrations outside a transaction: interruptions, failures, and writes meanwhile.

use nix::sys::signal::Signal;
use sqlx::PgConnection;

use super::fleet::{NEW, old_fleet, states};
use super::{run, start, without_durations};
use crate::support::{ServiceProcess, TestDatabase};

/// State of a tenant after migration 2.
const WITHOUT_INDEX: &str = "1 2, numeric, 0 indexes";

const INDEX_IS_VALID: &str =
    "SELECT indisvalid::text FROM pg_index WHERE indexrelid = 't1.orders_user_id_idx'::regclass";

async fn state(database: &TestDatabase) -> String {
    states(database).await.remove("t1").unwrap()
}

/// Begins a transaction that has inserted an order, and a migration that waits for it.
async fn migration_behind_a_writer(database: &TestDatabase) -> (PgConnection, ServiceProcess) {
    let mut writer = database.connect().await;
    sqlx::raw_sql("BEGIN; INSERT INTO t1.orders (id) VALUES ('open')")
        .execute(&mut writer)
        .await
        .unwrap();
    let migration = start(database, &["migrate", "--lock-timeout", "1m"]);
    database.service_is_blocked().await;
    (writer, migration)
}

/// A writer holds a lock on `orders` and then needs one on `items`, as each insert of an order does.
#[tokio::test]
async fn a_writer_is_not_cancelled_by_a_deadlock() {
    let database = old_fleet(1).await;
    let (mut writer, mut migration) = migration_behind_a_writer(&database).await;
    let inserted = sqlx::raw_sql("INSERT INTO t1.orders (id, item_id) VALUES ('two', '1'); COMMIT")
        .execute(&mut writer)
        .await;
    assert!(inserted.is_ok(), "{inserted:?}");
    assert_eq!(migration.wait().code(), Some(0));
    assert_eq!(state(&database).await, NEW);
}

#[tokio::test]
async fn writes_continue_while_an_index_is_built() {
    let database = old_fleet(1).await;
    let (mut writer, mut migration) = migration_behind_a_writer(&database).await;
    database
        .execute("SET lock_timeout TO '5s'; INSERT INTO t1.orders (id, item_id) VALUES ('other', '1')")
        .await;
    assert_eq!(state(&database).await.split(',').next(), Some("1 2"));
    sqlx::raw_sql("COMMIT").execute(&mut writer).await.unwrap();
    assert_eq!(migration.wait().code(), Some(0));
    assert_eq!(state(&database).await, NEW);
}

#[tokio::test]
async fn an_interrupted_migration_is_listed_and_repeated() {
    let database = old_fleet(1).await;
    let (mut writer, mut migration) = migration_behind_a_writer(&database).await;
    migration.signal(Signal::SIGKILL);
    migration.wait();
    // Also ends the session of the killed process, which would wait for the writer.
    database
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tenant-orders' AND datname = current_database()")
        .await;
    sqlx::raw_sql("COMMIT").execute(&mut writer).await.unwrap();
    assert_eq!(database.text(INDEX_IS_VALID).await, "false");

    let (_, listed, _) = run(&database, &["tenants", "list", "--json"]);
    assert!(
        listed.contains(r#""version":2,"state":"interrupted""#),
        "{listed}"
    );
    let (status, checked, _) = run(&database, &["tenants", "check"]);
    assert_eq!(status, Some(1));
    assert!(
        checked.contains("migration 3: expected applied, found unfinished"),
        "{checked}"
    );
    let (status, output, errors) = run(&database, &["migrate"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert!(output.starts_with("Repeated 3/orders index to t1 ("), "{output}");
    assert_eq!(database.text(INDEX_IS_VALID).await, "true");
    assert_eq!(state(&database).await, NEW);
    assert_eq!(run(&database, &["tenants", "check"]).0, Some(0));
}

/// The migration was killed between its last statement and the end of its record.
#[tokio::test]
async fn a_complete_index_is_not_built_again() {
    let database = TestDatabase::demo_with(
        "UPDATE client1._tenant_orders_migrations SET success = false WHERE version = 3",
    )
    .await;
    let index = "SELECT relfilenode::text FROM pg_class WHERE oid = 'client1.orders_user_id_idx'::regclass";
    let before = database.text(index).await;
    let (status, _, errors) = run(&database, &["migrate"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert_eq!(database.text(index).await, before);
    assert_eq!(run(&database, &["tenants", "check"]).0, Some(0));
}

#[tokio::test]
async fn a_failed_migration_outside_a_transaction_leaves_nothing() {
    let database = old_fleet(1).await;
    let lock = database.lock("t1.orders").await;
    let locked = ["migrate", "--lock-timeout", "1s", "--retries", "0"];
    let (status, output, errors) = run(&database, &locked);
    assert_eq!(status, Some(1));
    assert_eq!(
        without_durations(&output),
        "Applied 2/exact prices to t1\n0 tenants up to date\n"
    );
    assert!(
        errors.contains("t1: error: failed to apply migration 3 (orders index)"),
        "{errors}"
    );
    lock.release().await;
    assert_eq!(state(&database).await, WITHOUT_INDEX);
    let (_, listed, _) = run(&database, &["tenants", "list", "--json"]);
    assert!(listed.contains(r#""version":2,"state":"behind""#), "{listed}");

    // An index of another program is neither used nor dropped.
    database
        .execute("CREATE INDEX orders_user_id_idx ON t1.orders (id)")
        .await;
    for _ in 0..2 {
        let (status, _, errors) = run(&database, &["migrate"]);
        assert_eq!(status, Some(1));
        assert!(
            errors.contains("relation \"orders_user_id_idx\" already exists"),
            "{errors}"
        );
    }
    database.execute("DROP INDEX t1.orders_user_id_idx").await;
    assert_eq!(run(&database, &["migrate"]).0, Some(0));
    assert_eq!(state(&database).await, NEW);
}

#[tokio::test]
async fn migrations_outside_a_transaction_run_one_at_a_time() {
    let database = old_fleet(2).await;
    let mut other_run = database.connect().await;
    sqlx::query(
        "SELECT pg_advisory_lock(hashtextextended(
             'tenant-orders migrations outside a transaction, one at a time in each database', 0))",
    )
    .execute(&mut other_run)
    .await
    .unwrap();
    let mut migration = start(&database, &["migrate", "--jobs", "2"]);
    super::fleet::reached(&database, 2, WITHOUT_INDEX).await;
    sqlx::query("SELECT pg_advisory_unlock_all()")
        .execute(&mut other_run)
        .await
        .unwrap();
    assert_eq!(migration.wait().code(), Some(0));
    assert_eq!(states(&database).await["t2"], NEW);
}
