//! Runs over many tenants.

use std::collections::BTreeMap;

use super::{run, start, without_durations};
use crate::support::{TestDatabase, fleet, wait_until};

/// State of a tenant at version 1, and at version 3.
pub(super) const OLD: &str = "1, double precision, 0 indexes";
pub(super) const NEW: &str = "1 2 3, numeric, 1 indexes";

/// Reverts migrations 2 and 3 in every tenant. A transaction locks a single table, so that requests cannot cause a
/// deadlock.
pub(super) const BACK_TO_1: &str = "
    DO $$ DECLARE tenant text; BEGIN
        FOR tenant IN SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                      WHERE c.relname = '_tenant_orders_migrations' AND n.nspname <> 'public' LOOP
            EXECUTE format('DELETE FROM %I._tenant_orders_migrations WHERE version >= 2', tenant);
            EXECUTE format('DROP INDEX IF EXISTS %I.orders_user_id_idx', tenant);
            COMMIT;
            EXECUTE format('ALTER TABLE %I.items ALTER price TYPE double precision', tenant);
            COMMIT;
        END LOOP;
    END $$";

/// Tenants `t1`, `t2`, … at version 1, with a user and a few rows each.
pub(super) async fn old_fleet(tenants: usize) -> TestDatabase {
    let database = TestDatabase::empty().await;
    fill(&database, tenants).await;
    database
}

pub(super) async fn fill(database: &TestDatabase, tenants: usize) {
    let tenants = tenants.to_string();
    let rows = ["--users", "1", "--items", "3", "--orders", "2"];
    let (status, _, errors) = run(
        database,
        &[&["seed", "bulk", "--tenants", &tenants][..], &rows].concat(),
    );
    assert_eq!(status, Some(0), "{errors}");
    back_to_1(database).await;
}

pub(super) async fn back_to_1(database: &TestDatabase) {
    database.execute(BACK_TO_1).await;
}

/// Returns the state of each tenant with a history: the versions in its history, the type of its prices, its
/// index. Each state is a snapshot.
pub(super) async fn states(database: &TestDatabase) -> BTreeMap<String, String> {
    let mut connection = database.connect().await;
    let tenants: Vec<(String, String)> = sqlx::query_as(
        "SELECT n.nspname::text, quote_ident(n.nspname)
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relname = '_tenant_orders_migrations' AND n.nspname <> 'public'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut states = BTreeMap::new();
    for (name, quoted) in tenants {
        let state = format!(
            "SELECT format('%s, %s, %s indexes',
                 (SELECT string_agg(version::text, ' ' ORDER BY version) FROM {quoted}._tenant_orders_migrations WHERE success),
                 (SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                  WHERE c.relname = 'items' AND c.relnamespace = n.oid AND a.attname = 'price'),
                 (SELECT count(*) FROM pg_class c
                  WHERE c.relname = 'orders_user_id_idx' AND c.relnamespace = n.oid))
             FROM pg_namespace n WHERE n.nspname = $1"
        );
        let state = sqlx::query_scalar(sqlx::AssertSqlSafe(state))
            .bind(&name)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        states.insert(name, state);
    }
    states
}

/// Counts the tenants in this state.
pub(super) async fn count(database: &TestDatabase, state: &str) -> usize {
    let states = states(database).await;
    states.values().filter(|tenants| *tenants == state).count()
}

/// Waits until this number of tenants is in this state.
pub(super) async fn reached(database: &TestDatabase, tenants: usize, state: &str) {
    wait_until("the tenants are in this state", async || {
        count(database, state).await == tenants
    })
    .await;
}

#[tokio::test]
async fn a_locked_tenant_does_not_block_the_others() {
    let database = old_fleet(8).await;
    let lock = database.lock("t1.items").await;
    // While the migration of t1 waits for its lock, index builds of other tenants wait for its transaction.
    let locks = ["--lock-timeout", "1s", "--retries", "1000"];
    let mut migration = start(&database, &[&["migrate", "--jobs", "2"], &locks[..]].concat());
    reached(&database, 7, NEW).await;
    assert_eq!(states(&database).await["t1"], OLD);
    lock.release().await;
    assert_eq!(migration.wait().code(), Some(0));
    assert_eq!(count(&database, NEW).await, 8);
}

#[tokio::test]
async fn one_job_migrates_one_tenant_at_a_time() {
    let database = old_fleet(4).await;
    let lock = database.lock("t1.items").await;
    let mut migration = start(&database, &["migrate", "--jobs", "1", "--lock-timeout", "1m"]);
    database.service_is_blocked().await;
    assert_eq!(count(&database, OLD).await, 4);
    lock.release().await;
    assert_eq!(migration.wait().code(), Some(0));
    assert_eq!(count(&database, NEW).await, 4);
}

#[tokio::test]
async fn two_concurrent_runs_migrate_each_tenant_once() {
    let database = old_fleet(60).await;
    let url = database.url();
    let runs: Vec<_> = (0..2)
        .map(|_| {
            let url = url.clone();
            std::thread::spawn(move || super::run_over(&url, &["migrate", "--jobs", "4"]))
        })
        .collect();
    let mut migrated = Vec::new();
    for run in runs {
        let (status, output, errors) = run.join().unwrap();
        assert_eq!(status, Some(0), "{errors}");
        let output = without_durations(&output);
        let lines = output.lines().filter(|line| line.starts_with("Applied 2/"));
        migrated.extend(lines.map(str::to_owned));
    }
    assert_eq!(migrated.len(), 60, "{migrated:?}");
    migrated.sort();
    migrated.dedup();
    assert_eq!(migrated.len(), 60, "{migrated:?}");
    assert_eq!(count(&database, NEW).await, 60);
}

#[tokio::test]
async fn tenants_with_any_identifier_are_migrated() {
    let database = TestDatabase::empty().await;
    run(&database, &["migrate"]);
    let schemas = fleet::tenants().map(|tenant| {
        format!(
            "CREATE SCHEMA {}; INSERT INTO public.users (id, organization_id) VALUES ('{}', '{}');",
            tenant.quoted(),
            tenant.number,
            tenant.name.replace('\'', "''"),
        )
    });
    database.execute(schemas.collect::<String>()).await;
    for from in [0, 1] {
        let (status, output, errors) = run(&database, &["migrate", "--json"]);
        assert_eq!(status, Some(0), "{errors}");
        let lines: BTreeMap<String, serde_json::Value> = output
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| (line["tenant"].as_str().unwrap().to_owned(), line))
            .collect();
        assert_eq!(lines.len(), fleet::tenants().len());
        for tenant in fleet::tenants() {
            let line = &lines[tenant.name];
            assert_eq!((&line["from"], &line["to"]), (&from.into(), &3.into()), "{line}");
        }
        assert_eq!(count(&database, NEW).await, fleet::tenants().len());
        back_to_1(&database).await;
    }
    // Each of them can be named alone, too.
    for tenant in fleet::tenants() {
        let argument = format!("--tenant={}", tenant.name);
        let (status, output, errors) = run(&database, &["migrate", "--json", &argument]);
        assert_eq!(status, Some(0), "{argument}: {errors}");
        let line: serde_json::Value = serde_json::from_str(&output).unwrap();
        assert_eq!((&line["tenant"], &line["to"]), (&tenant.name.into(), &3.into()));
    }
    assert_eq!(count(&database, NEW).await, fleet::tenants().len());
}

#[tokio::test]
async fn users_without_a_tenant_are_ignored() {
    let database = old_fleet(1).await;
    database
        .execute(
            "INSERT INTO public.users (id, organization_id) VALUES
             ('a', 'missing'), ('b', 'public'), ('c', ''), ('d', repeat('x', 64)), ('e', 'pg_catalog')",
        )
        .await;
    let (status, output, errors) = run(&database, &["migrate"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert_eq!(
        without_durations(&output),
        "Applied 2/exact prices to t1\n\
         Applied 3/orders index to t1\n1 tenant migrated\n"
    );
}

#[tokio::test]
async fn schemas_of_other_programs_are_ignored() {
    let database = old_fleet(1).await;
    database
        .execute(
            "CREATE SCHEMA shop; CREATE TABLE shop.items (); CREATE TABLE shop.orders ();
             CREATE SCHEMA app; CREATE TABLE app._tenant_orders_migrations (LIKE t1._tenant_orders_migrations);
             INSERT INTO app._tenant_orders_migrations VALUES (1, 'mine', now(), true, 'x', 0)",
        )
        .await;
    let (status, output, errors) = run(&database, &["migrate"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert_eq!(
        without_durations(&output),
        "Applied 2/exact prices to t1\n\
         Applied 3/orders index to t1\n1 tenant migrated\n"
    );
}

#[tokio::test]
async fn a_tenant_without_users_is_found_by_its_history() {
    let database = old_fleet(2).await;
    database
        .execute("DELETE FROM t1.orders; DELETE FROM public.users WHERE organization_id = 't1'; DROP TABLE t1.orders")
        .await;
    let (status, output, errors) = run(&database, &["migrate", "--tenant", "t2", "--tenant", "t2"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert_eq!(
        without_durations(&output),
        "Applied 2/exact prices to t2\n\
         Applied 3/orders index to t2\n1 tenant migrated\n"
    );
    let (status, _, errors) = run(&database, &["migrate"]);
    assert_eq!(status, Some(1));
    assert!(
        errors.contains("t1: error: failed to apply migration 3"),
        "{errors}"
    );
    assert!(errors.contains("relation \"orders\" does not exist"), "{errors}");
    assert_eq!(count(&database, "1 2, numeric, 0 indexes").await, 1);
}

/// A worker that fails to connect leaves its tenants to the others.
#[tokio::test]
async fn fewer_connections_than_jobs_suffice() {
    let database = TestDatabase::empty().await;
    let role = format!("migrator_{}", database.name());
    database
        .execute(format!(
            "CREATE ROLE {role} LOGIN; GRANT CREATE ON DATABASE {name} TO {role};
             GRANT CREATE ON SCHEMA public TO {role}; SET ROLE {role}",
            name = database.name()
        ))
        .await;
    let url = database.url_as(&role);
    let bulk = ["seed", "bulk", "--tenants", "12", "--users", "1", "--items", "1"];
    let (status, _, errors) = super::run_over(&url, &bulk);
    assert_eq!(status, Some(0), "{errors}");
    back_to_1(&database).await;
    database
        .execute(format!("ALTER ROLE {role} CONNECTION LIMIT 3"))
        .await;
    let (status, _, errors) = super::run_over(&url, &["migrate", "--jobs", "12"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert_eq!(count(&database, NEW).await, 12);
}
