//! `tenants drop`.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{assert_refused, catalog, json, tenants, tenants_at};
use crate::support::{Cluster, Service, ServiceProcess, TestDatabase};

/// The demo, whose tenant client1 nobody points at any more.
async fn demo_without_users_of_client1() -> TestDatabase {
    let database = TestDatabase::demo().await;
    database
        .execute("UPDATE public.users SET organization_id = 'client2'")
        .await;
    database
}

#[tokio::test]
async fn a_tenant_is_dropped_and_it_is_told_what_that_was() {
    let database = demo_without_users_of_client1().await;
    let (status, output, errors) = tenants(&database, &["drop", "client1", "--yes"]);
    assert_eq!((status, output.as_str()), (Some(0), ""), "{errors}");
    assert!(
        errors.starts_with("dropped tenant client1: 3 tables (_sqlx_migrations, items, orders), "),
        "{errors}"
    );
    assert!(!catalog(&database).await.contains("client1"));
    assert_refused(
        &tenants(&database, &["drop", "client1", "--yes"]),
        "the schema does not exist",
    );
    assert_eq!(json(&database, &["check"]).0, Some(0));
}

#[tokio::test]
async fn a_tenant_that_users_point_at_is_dropped_by_force_alone() {
    let database = TestDatabase::demo().await;
    assert_refused(
        &tenants(&database, &["drop", "client1", "--yes"]),
        "1 user still belongs to this tenant; move or delete them first, or pass --force",
    );
    let (status, _, errors) = tenants(&database, &["drop", "client1", "--yes", "--force"]);
    assert_eq!(status, Some(0), "{errors}");
    assert!(
        errors.ends_with("warning: the requests of 1 user fail now; their tenant is gone\n"),
        "{errors}"
    );
    let answer = Service::over(&database).get("/users/1/orders").await;
    answer.problem(503, "tenant-unavailable");
}

#[tokio::test]
async fn what_is_no_tenant_is_not_dropped() {
    let database = TestDatabase::demo().await;
    database
        .execute(
            "CREATE SCHEMA other; CREATE TABLE other.items (); CREATE SCHEMA empty;
             CREATE SCHEMA migrated; CREATE TABLE migrated._sqlx_migrations AS
             SELECT version, description, installed_on, success, ''::bytea AS checksum, execution_time
             FROM client1._sqlx_migrations;
             INSERT INTO public.users (id, organization_id) VALUES ('x', 'other'), ('y', 'empty'), ('z', 'missing')",
        )
        .await;
    let before = catalog(&database).await;
    for (name, reason) in [
        ("other", "the schema is not a tenant"),
        ("empty", "the schema is not a tenant"),
        ("migrated", "the schema is not a tenant"),
        ("missing", "the schema does not exist"),
        ("public", "it is reserved"),
        ("pg_catalog", "it is reserved"),
        ("information_schema", "it is reserved"),
    ] {
        assert_refused(&tenants(&database, &["drop", name, "--yes", "--force"]), reason);
    }
    assert_eq!(catalog(&database).await, before);
}

#[tokio::test]
async fn a_tenant_that_other_schemas_need_is_not_dropped() {
    for (object, told) in [
        (
            "CREATE VIEW reporting.sales AS SELECT o.id FROM client1.orders o UNION SELECT i.id FROM client2.items i",
            "view reporting.sales",
        ),
        (
            "CREATE TABLE reporting.returns (order_id varchar CONSTRAINT of_order REFERENCES client1.orders)",
            "constraint of_order on table reporting.returns",
        ),
        (
            "CREATE TABLE reporting.copies (item client1.items)",
            "column item of table reporting.copies",
        ),
        (
            "CREATE FUNCTION reporting.price(client1.items) RETURNS numeric LANGUAGE sql AS 'SELECT $1.price'",
            "function reporting.price(client1.items)",
        ),
        (
            "CREATE TABLE reporting.more_items () INHERITS (client1.items)",
            "table reporting.more_items",
        ),
    ] {
        let database = demo_without_users_of_client1().await;
        database
            .execute(format!("CREATE SCHEMA reporting; {object}"))
            .await;
        let before = catalog(&database).await;
        let run = tenants(&database, &["drop", "client1", "--yes", "--force"]);
        assert_refused(&run, "objects in other schemas depend on it: ");
        assert!(run.2.contains(told), "{}", run.2);
        assert_eq!(catalog(&database).await, before);
    }
}

#[tokio::test]
async fn where_nobody_can_be_asked_nothing_is_dropped() {
    let database = demo_without_users_of_client1().await;
    assert_refused(&tenants(&database, &["drop", "client1"]), "confirm it with --yes");
    assert!(catalog(&database).await.contains("client1.orders"));
}

#[tokio::test]
async fn on_a_terminal_it_asks_and_takes_no_answer_for_a_no() {
    let database = demo_without_users_of_client1().await;
    for answer in ["n\n", "\n", "client1\n"] {
        let (status, told) = answered(&database, answer);
        assert_eq!(status, Some(1), "{told}");
        assert!(
            told.contains("Permanently drop tenant client1: 3 tables (_sqlx_migrations, items, orders), "),
            "{told}"
        );
        assert!(told.ends_with("error: nothing was done\n"), "{told}");
        assert!(catalog(&database).await.contains("client1.orders"));
    }
    let (status, told) = answered(&database, "y\n");
    assert_eq!(status, Some(0), "{told}");
    assert!(!catalog(&database).await.contains("client1"));
}

/// Drops client1 from a terminal on which `answer` is typed: its exit status and standard error.
fn answered(database: &TestDatabase, answer: &str) -> (Option<i32>, String) {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut drop = ServiceProcess::command()
        .args(["tenants", "drop", "client1"])
        .env("DATABASE_URL", database.url())
        .stdin(Stdio::from(terminal.slave))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    File::from(terminal.master.try_clone().unwrap())
        .write_all(answer.as_bytes())
        .unwrap();
    let mut told = String::new();
    drop.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    (drop.wait().unwrap().code(), told)
}

#[tokio::test]
async fn a_drop_that_was_killed_half_way_is_finished_by_another_one() {
    let database = demo_without_users_of_client1().await;
    database
        .execute("CREATE TABLE client1.notes (); CREATE VIEW client1.cheap AS SELECT id FROM client1.items")
        .await;
    let lock = database.lock("client1.items").await;
    let mut command: Command = ServiceProcess::command();
    let mut drop = command
        .args(["tenants", "drop", "client1", "--yes"])
        .env("DATABASE_URL", database.url())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while catalog(&database).await.contains("client1.notes") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop.kill().unwrap();
    drop.wait().unwrap();
    // What it had asked for last is given up by the server when the lock does not come.
    let at_work = "SELECT count(*)::text FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name = 'tenant-orders'";
    while database.text(at_work).await != "0" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    lock.release().await;

    let (status, listed) = json(&database, &["list"]);
    assert_eq!((status, &listed[0]["name"]), (Some(0), &"client1".into()));
    let (status, _, errors) = tenants(&database, &["drop", "client1", "--yes"]);
    assert_eq!(status, Some(0), "{errors}");
    assert!(
        errors.starts_with("dropped tenant client1: 3 tables (_sqlx_migrations, items, orders), "),
        "{errors}"
    );
    assert!(!catalog(&database).await.contains("client1"));
}

/// It needs a lock on `public.users`, and whoever waits for that makes all others wait.
#[tokio::test]
async fn a_drop_gives_up_waiting_for_users_and_comes_back() {
    let database = demo_without_users_of_client1().await;
    let lock = database.lock("public.users IN ACCESS SHARE MODE").await;
    let url = database.url();
    let drop = std::thread::spawn(move || tenants_at(&url, &["drop", "client1", "--yes"]));
    database.service_is_blocked().await;
    // Longer than it waits for a lock.
    let readable = database.text("SELECT count(*)::text FROM public.users");
    tokio::time::timeout(Duration::from_secs(10), readable)
        .await
        .expect("the users can be read meanwhile");
    lock.release().await;
    let (status, _, errors) = tokio::task::spawn_blocking(|| drop.join().unwrap())
        .await
        .unwrap();
    assert_eq!(status, Some(0), "{errors}");
}

#[tokio::test]
async fn a_tenant_of_more_tables_than_the_server_has_locks_for_is_dropped() {
    let cluster = Cluster::start().await;
    let mut connection = cluster.connect("postgres").await;
    for setting in [
        "max_locks_per_transaction = 10",
        "max_connections = 20",
        "max_wal_senders = 0",
    ] {
        execute(&mut connection, format!("ALTER SYSTEM SET {setting}")).await;
    }
    drop(connection);
    cluster.stop();
    cluster.start_again();
    cluster.seed_demo("postgres").await;
    let mut connection = cluster.connect("postgres").await;
    for table in 0..600 {
        let table = format!("CREATE TABLE client1.extra{table} (id integer PRIMARY KEY, note text)");
        execute(&mut connection, table).await;
    }
    let at_once = sqlx::raw_sql("DROP SCHEMA client1 CASCADE")
        .execute(&mut connection)
        .await;
    assert!(at_once.unwrap_err().to_string().contains("out of shared memory"));
    let (status, _, errors) = tenants_at(
        &cluster.url("postgres", "postgres"),
        &["drop", "client1", "--yes", "--force"],
    );
    assert_eq!(status, Some(0), "{errors}");
    assert!(
        errors.contains("dropped tenant client1: 603 tables ("),
        "{errors}"
    );
}

async fn execute(connection: &mut sqlx::PgConnection, statement: String) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(connection)
        .await
        .unwrap();
}
