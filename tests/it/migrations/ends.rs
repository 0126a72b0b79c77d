//! Runs that are killed, stopped or disconnected from the database.

use std::time::Duration;

use nix::sys::signal::Signal;
use sqlx::Connection;

use super::fleet::{NEW, OLD, count, old_fleet, reached, states};
use super::{run, run_over, start};
use crate::support::{Cluster, ServiceProcess, TestDatabase, wait_until};

#[tokio::test]
async fn a_killed_run_leaves_no_partial_migration() {
    let database = old_fleet(60).await;
    // The lock keeps every run from completing before it is killed.
    let lock = database.lock("t60.items").await;
    let mut done = 0;
    for longest in (50..3000).step_by(20) {
        let mut migration = start(&database, &["migrate", "--jobs", "3"]);
        tokio::time::sleep(Duration::from_millis(fastrand::u64(10..longest))).await;
        migration.signal(Signal::SIGKILL);
        migration.wait();
        let states = states(&database).await;
        for (tenant, state) in &states {
            let is_between = state.starts_with("1 2, numeric, ");
            assert!(
                state == OLD || is_between || state == NEW,
                "{tenant} is partially migrated: {state}"
            );
        }
        done = states.values().filter(|state| *state == NEW).count();
        if done > 30 {
            break;
        }
    }
    assert!(done < 60);
    lock.release().await;
    let (status, _, errors) = run(&database, &["migrate"]);
    assert_eq!(status, Some(0), "{errors}");
    assert_eq!(count(&database, NEW).await, 60);
}

#[tokio::test]
async fn a_killed_run_leaves_no_partial_schema() {
    let database = TestDatabase::empty().await;
    assert_eq!(run(&database, &["migrate"]).0, Some(0));
    database
        .execute(
            "DO $$ BEGIN FOR n IN 1..40 LOOP
                 EXECUTE format('CREATE SCHEMA t%s', n);
                 INSERT INTO public.users (id, organization_id) VALUES (n, 't' || n);
             END LOOP; END $$",
        )
        .await;
    for _ in 0..40 {
        let mut migration = start(&database, &["migrate", "--jobs", "3"]);
        tokio::time::sleep(Duration::from_millis(fastrand::u64(10..150))).await;
        migration.signal(Signal::SIGKILL);
        migration.wait();
        let states = states(&database).await;
        for (tenant, state) in &states {
            let is_between = state.starts_with("1 2, numeric, ");
            assert!(
                state == OLD || is_between || state == NEW,
                "{tenant} is partially created: {state}"
            );
        }
        if states.len() == 40 {
            break;
        }
    }
    let (status, _, errors) = run(&database, &["migrate"]);
    assert_eq!(status, Some(0), "{errors}");
    assert_eq!(count(&database, NEW).await, 40);
}

#[tokio::test]
async fn a_signal_finishes_the_tenants_in_progress() {
    let database = old_fleet(6).await;
    let lock = database.lock("t1.items").await;
    let mut migration = start(&database, &["migrate", "--jobs", "1", "--lock-timeout", "1m"]);
    database.service_is_blocked().await;
    migration.signal(Signal::SIGTERM);
    migration.line_with("stopping after the tenants in progress");
    lock.release().await;
    assert_eq!(migration.wait().code(), Some(1));
    let errors = migration.read_to_end();
    assert!(
        errors.contains("error: 5 of 6 tenants were not processed; completed work is kept"),
        "{errors}"
    );
    assert_eq!(states(&database).await["t1"], NEW);
    assert_eq!(count(&database, OLD).await, 5);
    assert_eq!(run(&database, &["migrate"]).0, Some(0));
    assert_eq!(count(&database, NEW).await, 6);
}

#[tokio::test]
async fn a_second_signal_cancels_the_tenants_in_progress() {
    let database = old_fleet(3).await;
    let lock = database.lock("t1.items").await;
    let mut migration = start(&database, &["migrate", "--jobs", "1", "--lock-timeout", "1m"]);
    database.service_is_blocked().await;
    migration.signal(Signal::SIGINT);
    migration.line_with("send another signal to cancel them");
    migration.signal(Signal::SIGINT);
    assert_eq!(migration.wait().code(), Some(1));
    let errors = migration.read_to_end();
    assert!(errors.contains("3 of 3 tenants were not processed"), "{errors}");
    lock.release().await;
    assert_eq!(count(&database, OLD).await, 3);
    assert_eq!(run(&database, &["migrate"]).0, Some(0));
}

#[tokio::test]
async fn a_signal_ends_waits_and_retry_delays() {
    let database = old_fleet(2).await;
    // Another run holds the advisory lock of t1; a table of t2 is locked all the time.
    let mut other_run = database.connect().await;
    sqlx::query("SELECT pg_advisory_lock(hashtextextended('tenant-orders t1', 0))")
        .execute(&mut other_run)
        .await
        .unwrap();
    let lock = database.lock("t2.items").await;
    let mut migration = start(
        &database,
        &[
            "migrate",
            "--jobs",
            "2",
            "--lock-timeout",
            "1ms",
            "--retries",
            "1000",
        ],
    );
    migration.line_with("t1: waiting for another session that changes this tenant");
    migration.signal(Signal::SIGTERM);
    assert_eq!(migration.wait().code(), Some(1));
    let errors = migration.read_to_end();
    assert!(errors.contains("2 of 2 tenants were not processed"), "{errors}");
    lock.release().await;
    other_run.close().await.unwrap();
    assert_eq!(count(&database, OLD).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_after_a_lost_database_completes_the_rest() {
    let cluster = Cluster::start().await;
    let url = cluster.url("postgres", "postgres");
    let tenants = ["seed", "bulk", "--tenants", "20", "--users", "1", "--items", "1"];
    assert_eq!(run_over(&url, &tenants).0, Some(0));
    let mut connection = cluster.connect("postgres").await;
    let old = super::fleet::BACK_TO_1;
    sqlx::raw_sql(old).execute(&mut connection).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK t10.items")
        .execute(&mut connection)
        .await
        .unwrap();
    let mut migration = ServiceProcess::spawn(
        ServiceProcess::command()
            .args(["migrate", "--jobs", "1", "--lock-timeout", "1m"])
            .env("DATABASE_URL", &url),
    );
    let mut watcher = cluster.connect("postgres").await;
    let blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    wait_until("a migration is blocked", async || {
        let blocked = sqlx::query_scalar::<_, i64>(blocked);
        blocked.fetch_one(&mut watcher).await.unwrap() > 0
    })
    .await;
    cluster.kill();
    assert_eq!(migration.wait().code(), Some(1));
    let errors = migration.read_to_end();
    // t1 and t10 come first: t10 failed while it waited, and no connection was available for the others.
    assert!(
        errors.contains("error: 18 of 20 tenants were not processed"),
        "{errors}"
    );
    assert!(errors.contains("1 failed: t10"), "{errors}");
    assert!(
        errors.contains("because: the database is unavailable"),
        "{errors}"
    );

    cluster.start_again();
    let (status, output, errors) = run_over(&url, &["migrate"]);
    assert_eq!(status, Some(0), "{errors}");
    assert_eq!(output.matches("Applied 2/").count(), 19, "{output}");
}

#[tokio::test]
async fn an_unreachable_database_is_an_error() {
    let (status, output, errors) = run_over("postgres://user@127.0.0.1:1/none", &["migrate"]);
    assert_eq!((status, output.as_str()), (Some(1), ""));
    assert!(errors.contains("error: the database is unavailable"), "{errors}");
}

#[tokio::test]
async fn a_run_waits_for_another_run_on_the_same_tenant() {
    let database = old_fleet(1).await;
    let lock = database.lock("t1.items").await;
    let mut one = start(&database, &["migrate", "--lock-timeout", "1m"]);
    database.service_is_blocked().await;
    let mut other = start(&database, &["migrate", "--lock-timeout", "1m"]);
    other.line_with("t1: waiting for another session that changes this tenant");
    lock.release().await;
    assert_eq!(one.wait().code(), Some(0));
    assert_eq!(other.wait().code(), Some(0));
    reached(&database, 1, NEW).await;
}
