//! Tables that are in use.

use std::time::{Duration, Instant};

use super::fleet::{NEW, OLD, count, old_fleet, states};
use super::{run, start};
use crate::support::Service;

#[tokio::test]
async fn a_table_that_is_in_use_is_tried_again() {
    let database = old_fleet(1).await;
    let lock = database.lock("t1.items").await;
    let mut migration = start(&database, &["migrate", "--lock-timeout", "20ms"]);
    for _ in 0..2 {
        migration.line_with("t1: a table is in use; trying again in ");
    }
    assert_eq!(states(&database).await["t1"], OLD);
    lock.release().await;
    assert_eq!(migration.wait().code(), Some(0));
    assert_eq!(states(&database).await["t1"], NEW);
}

#[tokio::test]
async fn a_table_that_stays_in_use_fails_its_tenant_alone() {
    let database = old_fleet(5).await;
    let lock = database.lock("t3.items").await;
    let begin = Instant::now();
    let (status, output, errors) = run(
        &database,
        &[
            "migrate",
            "--jobs",
            "1",
            "--lock-timeout",
            "20ms",
            "--retries",
            "2",
        ],
    );
    assert!(begin.elapsed() > Duration::from_millis(125 + 250), "pauses grow");
    assert_eq!(status, Some(1));
    assert_eq!(errors.matches("trying again in").count(), 2, "{errors}");
    assert!(errors.contains("t3: error: the migration failed"), "{errors}");
    assert!(
        errors.contains("canceling statement due to lock timeout"),
        "{errors}"
    );
    assert!(errors.ends_with("error: 1 of 5 tenants failed: t3\n"), "{errors}");
    assert_eq!(
        output.matches("migrated from version 1 to 2").count(),
        4,
        "{output}"
    );
    assert_eq!(count(&database, NEW).await, 4);
    lock.release().await;
    let (status, output, _) = run(&database, &["migrate"]);
    assert_eq!(status, Some(0));
    assert_eq!(output, "t3: migrated from version 1 to 2\n5 up to date already\n");
}

/// Who reads a table waits behind a migration that waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn requests_do_not_wait_behind_a_migration_for_long() {
    let database = old_fleet(1).await;
    let mut reader = database.connect().await;
    sqlx::raw_sql("BEGIN; SELECT FROM t1.items")
        .execute(&mut reader)
        .await
        .unwrap();
    let mut migration = start(
        &database,
        &["migrate", "--lock-timeout", "200ms", "--retries", "1000"],
    );
    database.service_is_blocked().await;
    let service = Service::over(&database);
    for _ in 0..20 {
        let begin = Instant::now();
        service.get("/users/t1-u1/orders").await.ok();
        assert!(begin.elapsed() < Duration::from_secs(2));
    }
    sqlx::raw_sql("COMMIT").execute(&mut reader).await.unwrap();
    assert_eq!(migration.wait().code(), Some(0));
    assert_eq!(count(&database, NEW).await, 1);
}

#[tokio::test]
async fn who_loses_a_deadlock_tries_again() {
    let database = old_fleet(3).await;
    database
        .execute(
            "CREATE SEQUENCE public.attempts; -- it counts also what is rolled back
             CREATE FUNCTION public.lose() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF nextval('public.attempts') <= 4 THEN
                     RAISE 'deadlock detected' USING ERRCODE = 'deadlock_detected';
                 END IF;
             END $$;
             CREATE EVENT TRIGGER lose ON ddl_command_start WHEN TAG IN ('ALTER TABLE')
             EXECUTE FUNCTION public.lose()",
        )
        .await;
    let (status, _, errors) = run(&database, &["migrate"]);
    assert_eq!(status, Some(0), "{errors}");
    assert_eq!(
        errors.matches("a table is in use; trying again in").count(),
        4,
        "{errors}"
    );
    assert_eq!(count(&database, NEW).await, 3);
}

#[tokio::test]
async fn the_shared_tables_are_tried_again_too() {
    let database = old_fleet(1).await;
    database.execute("DELETE FROM public._sqlx_migrations").await;
    let lock = database.lock("public._sqlx_migrations IN SHARE MODE").await;
    let mut migration = start(&database, &["migrate", "--lock-timeout", "20ms"]);
    database.service_is_blocked().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    lock.release().await;
    assert_eq!(migration.wait().code(), Some(0));
    assert_eq!(
        database
            .text("SELECT count(*)::text FROM public._sqlx_migrations")
            .await,
        "1"
    );
}
