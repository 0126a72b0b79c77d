//! `tenants drop`.

mod dependents;

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{assert_refused, catalog, json, tenants, tenants_at};
use crate::support::{Cluster, Service, ServiceProcess, TestDatabase, wait_until};

/// Returns the demo database with all users moved to client2.
async fn demo_without_users_of_client1() -> TestDatabase {
    TestDatabase::demo_with("UPDATE public.users SET organization_id = 'client2'").await
}

#[tokio::test]
async fn drop_reports_the_dropped_tables() {
    let database = demo_without_users_of_client1().await;
    let (status, output, errors) = tenants(&database, &["drop", "client1", "--yes"]);
    assert_eq!((status, output.as_str()), (Some(0), ""), "{errors}");
    assert!(
        errors.starts_with("dropped tenant client1: 3 tables (_tenant_orders_migrations, items, orders), "),
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
async fn drop_requires_force_while_users_remain() {
    let database = TestDatabase::demo().await;
    assert_refused(
        &tenants(&database, &["drop", "client1", "--yes"]),
        "1 user still belongs to this tenant; move or delete them first, or pass --force",
    );
    let (status, _, errors) = tenants(&database, &["drop", "client1", "--yes", "--force"]);
    assert_eq!(status, Some(0), "{errors}");
    assert!(
        errors.ends_with("users that still belong to it, and get 503 tenant-unavailable: 1\n"),
        "{errors}"
    );
    let response = Service::over(&database).get("/users/1/orders").await;
    response.problem(503, "tenant-unavailable");
}

#[tokio::test]
async fn drop_refuses_schemas_that_are_not_tenants() {
    let database = TestDatabase::demo_with(
        "CREATE SCHEMA other; CREATE TABLE other.items (); CREATE SCHEMA empty;
         CREATE SCHEMA migrated; CREATE TABLE migrated._tenant_orders_migrations AS
         SELECT version, description, installed_on, success, ''::bytea AS checksum, execution_time
         FROM client1._tenant_orders_migrations;
         INSERT INTO public.users (id, organization_id) VALUES ('x', 'other'), ('y', 'empty'), ('z', 'missing')",
    ).await;
    let before = catalog(&database).await;
    for (name, reason) in [
        ("other", "the schema is not a tenant:"),
        ("empty", "the schema is not a tenant:"),
        ("migrated", "the schema is not a tenant:"),
        ("missing", "the schema does not exist"),
        ("public", "is reserved"),
        ("pg_catalog", "is reserved"),
        ("information_schema", "is reserved"),
    ] {
        assert_refused(&tenants(&database, &["drop", name, "--yes", "--force"]), reason);
    }
    assert_eq!(catalog(&database).await, before);
}

#[tokio::test]
async fn drop_fails_if_row_level_security_hides_users() {
    let database = TestDatabase::demo_with(
        "CREATE ROLE drop_hidden LOGIN; GRANT SELECT ON public.users TO drop_hidden;
         GRANT SELECT ON ALL TABLES IN SCHEMA client2 TO drop_hidden; GRANT USAGE ON SCHEMA client2 TO drop_hidden;
         ALTER TABLE public.users ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON public.users USING (id = current_setting('app.user_id', true));
         ALTER SCHEMA client1 OWNER TO drop_hidden; ALTER TABLE client1.items OWNER TO drop_hidden;
         ALTER TABLE client1.orders OWNER TO drop_hidden; ALTER TABLE client1._tenant_orders_migrations OWNER TO drop_hidden",
    ).await;
    let before = catalog(&database).await;
    let url = database.url_as("drop_hidden");
    for command in [
        &["list"] as &[_],
        &["drop", "client1", "--yes"],
        &["export", "client1"],
    ] {
        assert_refused(
            &tenants_at(&url, command),
            "row-level security policy for table \"users\"",
        );
    }
    assert_eq!(catalog(&database).await, before);
}

#[tokio::test]
async fn drop_requires_the_owner_of_the_schema() {
    let database = demo_without_users_of_client1().await;
    database
        .execute(
            "CREATE ROLE drop_owner LOGIN; GRANT SELECT ON public.users TO drop_owner;
             GRANT USAGE ON SCHEMA client1, client2 TO drop_owner; GRANT SELECT ON client2._tenant_orders_migrations TO drop_owner;
             CREATE TABLE client1.notes (); ALTER TABLE client1.notes OWNER TO drop_owner;
             ALTER TABLE client1.items OWNER TO drop_owner; ALTER TABLE client1.orders OWNER TO drop_owner;
             ALTER TABLE client1._tenant_orders_migrations OWNER TO drop_owner",
        )
        .await;
    let before = catalog(&database).await;
    assert_refused(
        &tenants_at(&database.url_as("drop_owner"), &["drop", "client1", "--yes"]),
        "only the owner of the schema can drop it; connect as postgres",
    );
    assert_eq!(catalog(&database).await, before);
}

#[tokio::test]
async fn drop_without_a_terminal_requires_yes() {
    let database = demo_without_users_of_client1().await;
    assert_refused(
        &tenants(&database, &["drop", "client1"]),
        "confirmation required, but stdin is not a terminal; pass --yes to proceed",
    );
    assert!(catalog(&database).await.contains("client1.orders"));
}

#[tokio::test]
async fn drop_asks_for_confirmation_and_defaults_to_no() {
    let database = demo_without_users_of_client1().await;
    for reply in ["n\n", "\n", "client1\n"] {
        let (status, printed) = drop_with_reply(&database, reply);
        assert_eq!(status, Some(1), "{printed}");
        assert!(
            printed.contains(
                "Permanently drop tenant client1: 3 tables (_tenant_orders_migrations, items, orders), "
            ),
            "{printed}"
        );
        assert!(
            printed.ends_with("error: cancelled; nothing was changed\n"),
            "{printed}"
        );
        assert!(catalog(&database).await.contains("client1.orders"));
    }
    let (status, printed) = drop_with_reply(&database, "y\n");
    assert_eq!(status, Some(0), "{printed}");
    assert!(!catalog(&database).await.contains("client1"));
}

/// Drops client1 on a terminal, and types `reply`. Returns the exit status and standard error.
fn drop_with_reply(database: &TestDatabase, reply: &str) -> (Option<i32>, String) {
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
        .write_all(reply.as_bytes())
        .unwrap();
    let mut printed = String::new();
    drop.stderr.take().unwrap().read_to_string(&mut printed).unwrap();
    (drop.wait().unwrap().code(), printed)
}

#[tokio::test]
async fn interrupted_drop_is_completed_by_another() {
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
    wait_until("the first transaction is committed", async || {
        !catalog(&database).await.contains("client1.notes")
    })
    .await;
    drop.kill().unwrap();
    drop.wait().unwrap();
    // PostgreSQL cancels the last statement when its lock timeout has passed.
    let backends = "SELECT count(*)::text FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name = 'tenant-orders'";
    wait_until("the backends have ended", async || {
        database.text(backends).await == "0"
    })
    .await;
    lock.release().await;

    let (status, listed) = json(&database, &["list"]);
    assert_eq!((status, &listed[0]["name"]), (Some(0), &"client1".into()));
    let (status, _, errors) = tenants(&database, &["drop", "client1", "--yes"]);
    assert_eq!(status, Some(0), "{errors}");
    assert!(
        errors.starts_with("dropped tenant client1: 3 tables (_tenant_orders_migrations, items, orders), "),
        "{errors}"
    );
    assert!(!catalog(&database).await.contains("client1"));
}

/// The drop needs a lock on `public.users`, and readers queue behind it while it waits.
#[tokio::test]
async fn drop_retries_after_a_lock_timeout_on_users() {
    let database = demo_without_users_of_client1().await;
    let lock = database.lock("public.users IN ACCESS SHARE MODE").await;
    let url = database.url();
    let drop = std::thread::spawn(move || tenants_at(&url, &["drop", "client1", "--yes"]));
    database.service_is_blocked().await;
    // Longer than the lock timeout.
    let readable = database.text("SELECT count(*)::text FROM public.users");
    tokio::time::timeout(Duration::from_secs(10), readable)
        .await
        .expect("public.users is readable during the drop");
    lock.release().await;
    let (status, _, errors) = tokio::task::spawn_blocking(|| drop.join().unwrap())
        .await
        .unwrap();
    assert_eq!(status, Some(0), "{errors}");
}

#[tokio::test]
async fn drop_of_more_tables_than_the_lock_table_holds_succeeds() {
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
    execute(&mut connection, "SELECT".to_owned()).await; // its locks are released
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
