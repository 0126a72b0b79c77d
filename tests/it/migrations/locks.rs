//! Tables that are locked by other sessions: retries and backoff.

use std::time::Duration;

use super::fleet::{NEW, OLD, count, old_fleet, states};
use super::{run, start, without_durations};
use crate::support::Service;

#[tokio::test]
async fn a_locked_table_is_retried() {
    let database = old_fleet(1).await;
    let lock = database.lock("t1.items").await;
    let mut migration = start(&database, &["migrate", "--lock-timeout", "1s"]);
    for _ in 0..2 {
        migration.line_with("t1: a table is locked by another session; retrying in ");
    }
    assert_eq!(states(&database).await["t1"], OLD);
    lock.release().await;
    assert_eq!(migration.wait().code(), Some(0));
    assert_eq!(states(&database).await["t1"], NEW);
}

#[tokio::test]
async fn exhausted_retries_fail_the_tenant_alone() {
    let database = old_fleet(5).await;
    let lock = database.lock("t3.items").await;
    let (status, output, errors) = run(
        &database,
        &["migrate", "--jobs", "1", "--lock-timeout", "1s", "--retries", "2"],
    );
    assert_eq!(status, Some(1));
    let delays: Vec<f64> = errors
        .lines()
        .filter_map(|line| line.split_once("retrying in "))
        .map(|(_, delay)| delay.trim_end_matches("ms").parse().unwrap())
        .collect();
    let [first, second] = *delays else {
        panic!("two retries: {errors}")
    };
    assert!((125.0..=250.0).contains(&first), "{first}");
    assert!((250.0..=500.0).contains(&second), "{second}");
    assert!(
        errors.contains("t3: error: failed to apply migration 2"),
        "{errors}"
    );
    assert!(
        errors.contains("canceling statement due to lock timeout"),
        "{errors}"
    );
    assert!(errors.ends_with("error: 1 of 5 tenants failed: t3\n"), "{errors}");
    assert_eq!(output.matches("Applied 2/").count(), 4, "{output}");
    assert_eq!(count(&database, NEW).await, 4);
    lock.release().await;
    let (status, output, _) = run(&database, &["migrate"]);
    assert_eq!(status, Some(0));
    assert_eq!(
        without_durations(&output),
        "Applied 2/exact prices to t3\n\
         Applied 3/orders index to t3\n1 tenant migrated, 4 up to date\n"
    );
}

#[tokio::test]
async fn a_rewrite_longer_than_the_lock_timeout_is_cancelled() {
    let database = old_fleet(2).await;
    database
        .execute("INSERT INTO t1.items SELECT 'i' || n, NULL, 'item', n FROM generate_series(1, 600000) n")
        .await;
    let (status, _, errors) = run(&database, &["migrate", "--lock-timeout", "400ms"]);
    assert_eq!(status, Some(1));
    insta::assert_snapshot!(errors, @"
    t1: error: migration 2 (exact prices) would have blocked writes for longer than --lock-timeout, and was cancelled; repeat it with a longer one at a quiet time
    error: 1 of 2 tenants failed: t1
    ");
    assert_eq!(states(&database).await["t1"], OLD);
    assert_eq!(states(&database).await["t2"], NEW);
    let (status, _, errors) = run(&database, &["migrate", "--lock-timeout", "5min"]);
    assert_eq!(status, Some(0), "{errors}");
    assert_eq!(states(&database).await["t1"], NEW);
}

/// A request waits behind a migration that waits for the same table. Beyond the statement timeout its response
/// would be an error.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_migration_times_out_no_requests() {
    let database = old_fleet(1).await;
    let mut reader = database.connect().await;
    sqlx::raw_sql("BEGIN; SELECT FROM t1.items")
        .execute(&mut reader)
        .await
        .unwrap();
    let mut migration = start(
        &database,
        &["migrate", "--lock-timeout", "1s", "--retries", "1000"],
    );
    database.service_is_blocked().await;
    let service = Service::over(&database);
    for _ in 0..20 {
        service.get("/users/t1-u1/orders").await.ok();
    }
    sqlx::raw_sql("COMMIT").execute(&mut reader).await.unwrap();
    assert_eq!(migration.wait().code(), Some(0));
    assert_eq!(count(&database, NEW).await, 1);
}

#[tokio::test]
async fn a_lost_deadlock_is_retried() {
    let database = old_fleet(3).await;
    database
        .execute(
            "CREATE SEQUENCE public.attempts; -- not rolled back
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
        errors
            .matches("a table is locked by another session; retrying in")
            .count(),
        4,
        "{errors}"
    );
    assert_eq!(count(&database, NEW).await, 3);
}

#[tokio::test]
async fn a_locked_shared_table_is_retried() {
    let database = old_fleet(1).await;
    database
        .execute("DELETE FROM public._tenant_orders_migrations")
        .await;
    let lock = database
        .lock("public._tenant_orders_migrations IN SHARE MODE")
        .await;
    let mut migration = start(
        &database,
        &["migrate", "--lock-timeout", "1s", "--retries", "1000"],
    );
    database.service_is_blocked().await;
    // Longer than the lock timeout, so that the first attempt fails.
    tokio::time::sleep(Duration::from_millis(300)).await;
    lock.release().await;
    assert_eq!(migration.wait().code(), Some(0));
    assert_eq!(
        database
            .text("SELECT count(*)::text FROM public._tenant_orders_migrations")
            .await,
        "1"
    );
}
