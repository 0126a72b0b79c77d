//! `migrate` and `seed`.

mod adoption;
mod ends;
mod failures;
mod fleet;
mod folder;
mod guide;
mod hazards;
mod history;
mod instances;
mod locks;
mod other_folders;
mod output;
mod outside_transaction;
mod predictions;
mod rollout;
mod serving;
mod ten;

use serde_json::Value;

use crate::support::{Service, ServiceProcess, TestDatabase, finished};

fn run(database: &TestDatabase, arguments: &[&str]) -> (Option<i32>, String, String) {
    run_over(&database.url(), arguments)
}

fn run_over(url: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    finished(ServiceProcess::command().args(arguments).env("DATABASE_URL", url))
}

/// Starts a command without waiting for its end.
fn start(database: &TestDatabase, arguments: &[&str]) -> ServiceProcess {
    ServiceProcess::spawn(
        ServiceProcess::command()
            .args(arguments)
            .env("DATABASE_URL", database.url()),
    )
}

/// Returns the lines of `migrate --json` in the order of the tenants, without the durations.
fn json_lines(output: &str) -> Vec<Value> {
    let mut lines: Vec<Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines.sort_by_key(|line| line["tenant"].to_string());
    for line in &mut lines {
        let duration = line.as_object_mut().unwrap().remove("duration_ms");
        assert!(duration.unwrap().is_u64());
    }
    lines
}

/// Returns the output of `migrate` without the durations.
pub(crate) fn without_durations(output: &str) -> String {
    let mut lines = String::new();
    for line in output.lines() {
        let line = match line.rsplit_once(" (") {
            Some((line, _)) if line.starts_with("Applied ") => line,
            _ => line,
        };
        lines.push_str(line);
        lines.push('\n');
    }
    lines
}

/// Returns the output without the lines about hazards.
fn without_hazards(output: &str) -> String {
    let lines = output.split_inclusive('\n');
    lines.filter(|line| !line.starts_with("hazard: ")).collect()
}

#[tokio::test]
async fn an_empty_database_becomes_the_demo() {
    let database = TestDatabase::empty().await;
    assert_eq!(
        without_durations(&run(&database, &["migrate"]).1),
        "Applied 1/users to public\n0 tenants up to date\n"
    );
    for _ in 0..2 {
        let (status, _, errors) = run(&database, &["seed", "demo"]);
        assert_eq!(
            (status, errors.as_str()),
            (
                Some(0),
                "demo data is ready: user 1 in tenant client1, user 2 in tenant client2\n"
            )
        );
    }
    let (status, output, errors) = run(&database, &["migrate"]);
    assert_eq!(
        (status, output.as_str(), errors.as_str()),
        (Some(0), "2 tenants up to date\n", "")
    );
    let service = Service::over(&database);
    assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60000.00");
    assert_eq!(service.get("/users/2/orders").await.ok()["total_due"], "10500.00");
    let columns = "SELECT string_agg(format('%s.%s %s', table_name, column_name, data_type), ', ' ORDER BY table_name, ordinal_position)
                   FROM information_schema.columns WHERE table_schema = 'client1' AND table_name <> '_tenant_orders_migrations'";
    assert_eq!(
        database.text(columns).await,
        "items.id character varying, items.creation_timestamp timestamp without time zone, \
         items.description character varying, items.price numeric, orders.id character varying, \
         orders.creation_timestamp timestamp without time zone, orders.quantity integer, \
         orders.user_id character varying, orders.item_id character varying"
    );
    assert_eq!(
        database.text("SELECT indexdef FROM pg_indexes WHERE schemaname = 'client1' AND indexname = 'orders_user_id_idx'").await,
        "CREATE INDEX orders_user_id_idx ON client1.orders USING btree (user_id, creation_timestamp DESC NULLS LAST, id)"
    );
}

#[tokio::test]
async fn prices_keep_the_shortest_decimal_of_their_floats() {
    let database = TestDatabase::demo_with(
        "DELETE FROM client1._tenant_orders_migrations WHERE version >= 2; DROP INDEX client1.orders_user_id_idx;
         ALTER TABLE client1.items ALTER price TYPE double precision;
         INSERT INTO client1.items (id, price) VALUES ('a', 0.1 + 0.2::float8), ('b', 1e-7), ('c', 123456789012345680), ('d', 'NaN'), ('e', NULL);",
    ).await;
    let (status, output, errors) = run(&database, &["migrate", "--tenant", "client1"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert_eq!(
        without_durations(&output),
        "Applied 2/exact prices to client1\n\
         Applied 3/orders index to client1\n1 tenant migrated\n"
    );
    assert_eq!(
        database
            .text("SELECT string_agg(price::text, ' ' ORDER BY id) FROM client1.items WHERE id >= 'a'")
            .await,
        "0.30000000000000004 0.0000001 123456789012345680 NaN"
    );
}

#[tokio::test]
async fn a_changed_migration_is_refused() {
    let database = TestDatabase::demo_with(
        "UPDATE client1._tenant_orders_migrations SET checksum = 'x' WHERE version = 1",
    )
    .await;
    let (status, output, errors) = run(&database, &["migrate"]);
    assert_eq!(status, Some(1));
    assert_eq!(output, "1 tenant up to date\n");
    insta::assert_snapshot!(errors, @"
    client1: error: migration 1 (items and orders) was changed after it was applied: its checksum differs; restore the text that was applied
    error: 1 of 2 tenants failed: client1
    ");
}

#[tokio::test]
async fn a_schema_of_another_program_is_not_changed() {
    let database = TestDatabase::demo_with(
        "CREATE SCHEMA other; CREATE TABLE other.things ();
         INSERT INTO public.users (id, organization_id) VALUES ('x', 'other')",
    )
    .await;
    let (status, _, errors) = run(&database, &["migrate"]);
    assert_eq!(status, Some(1));
    assert!(errors.contains("1 of 3 tenants failed: other"), "{errors}");
    let tables = "SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = 'other'::regnamespace";
    assert_eq!(database.text(tables).await, "things");
}

/// sqlx's own lock is one for the whole database.
#[tokio::test]
async fn migrations_do_not_wait_for_the_lock_of_sqlx() {
    let database = TestDatabase::demo().await;
    let mut other = database.connect().await;
    sqlx::migrate::Migrate::lock(&mut other).await.unwrap();
    assert_eq!(run(&database, &["migrate"]).0, Some(0));
}

#[tokio::test]
async fn a_missing_tenant_fails_alone() {
    let (status, _, errors) = run(
        &TestDatabase::demo().await,
        &["migrate", "--tenant", "missing", "--tenant", "client2"],
    );
    assert_eq!(status, Some(1));
    insta::assert_snapshot!(errors, @"
    missing: error: the schema does not exist
    error: 1 of 2 tenants failed: missing
    ");
    assert_eq!(
        run(&TestDatabase::demo().await, &["migrate", "--tenant", "public"]).0,
        Some(1)
    );
}

#[tokio::test]
async fn concurrent_runs_apply_each_migration_once() {
    let database = TestDatabase::empty().await;
    let url = database.url();
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            std::thread::spawn(move || {
                finished(
                    ServiceProcess::command()
                        .args(["seed", "demo"])
                        .env("DATABASE_URL", url),
                )
            })
        })
        .collect();
    for run in runs {
        let (status, _, errors) = run.join().unwrap();
        assert_eq!(status, Some(0), "{errors}");
    }
    assert_eq!(
        database
            .text("SELECT count(*)::text FROM client1._tenant_orders_migrations")
            .await,
        "3"
    );
    assert_eq!(
        database.text("SELECT count(*)::text FROM client1.orders").await,
        "2"
    );
}

#[tokio::test]
async fn bulk_seed_creates_the_requested_rows_once() {
    let database = TestDatabase::empty().await;
    let bulk = [
        "seed",
        "bulk",
        "--tenants",
        "3",
        "--users",
        "4",
        "--items",
        "5",
        "--orders",
        "6",
    ];
    for _ in 0..2 {
        let (status, _, errors) = run(&database, &bulk);
        assert_eq!(status, Some(0), "{errors}");
        assert!(errors.ends_with("3 of 3 tenants\n"), "{errors}");
    }
    let counts = "SELECT format('%s users, %s items, %s orders', (SELECT count(*) FROM public.users),
                         (SELECT count(*) FROM t1.items), (SELECT count(*) FROM t3.orders))";
    assert_eq!(database.text(counts).await, "12 users, 5 items, 24 orders");
    let service = Service::over(&database);
    let mut totals = std::collections::BTreeSet::new();
    for tenant in ["t1", "t2", "t3"] {
        let page = service.get(&format!("/users/{tenant}-u4/orders")).await.ok();
        assert_eq!(page["user"]["organization_id"], tenant);
        assert_eq!(page["orders"].as_array().unwrap().len(), 6);
        totals.insert(page["total_due"].as_str().unwrap().to_owned());
    }
    assert_eq!(totals.len(), 3, "prices differ from tenant to tenant");
}
