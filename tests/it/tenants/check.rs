//! `tenants check`: histories, users, and the number of statements.

use std::fmt::Write;

use serde_json::{Value, json};
use tenant_orders::admin::AdminDatabase;
use tenant_orders::admin::tenants::create_if_missing;
use tenant_orders::config::DatabaseUrl;
use tenant_orders::tenancy::SchemaName;

use super::{catalog, json, tenants};
use crate::support::{TestDatabase, shared_cluster};

fn difference(kind: &str, object: &str, expected: Option<&str>, found: Option<&str>) -> Value {
    json!({ "kind": kind, "object": object, "expected": expected, "found": found, "fix": null })
}

#[tokio::test]
async fn missing_schemas_and_users_are_reported() {
    let database = TestDatabase::demo_with(
        "CREATE SCHEMA old; CREATE TABLE old.items (LIKE client1.items);
         CREATE TABLE old.orders (LIKE client1.orders);
         INSERT INTO public.users (id, organization_id) VALUES ('g', 'gone'), ('o', 'old'), ('p', 'public');
         DELETE FROM client2.orders; DELETE FROM public.users WHERE id = '2';",
    )
    .await;
    let (status, checked) = json(&database, &["check"]);
    assert_eq!(status, Some(1));
    assert_eq!(
        checked,
        json!([
            { "tenant": "client1", "version": 3, "differences": [] },
            { "tenant": "client2", "version": 3, "differences": [
                difference("users", "public.users", "at least one user".into(), None),
            ] },
            { "tenant": "gone", "version": null, "differences": [
                difference("schema", "gone", "a schema".into(), None),
            ] },
            { "tenant": "old", "version": null, "differences": [
                difference("history", "_tenant_orders_migrations", "a migration history".into(), None),
            ] },
            { "tenant": "public", "version": null, "differences": [
                difference("schema", "public", "a tenant's schema".into(),
                           "the schema name \"public\" is reserved".into()),
            ] },
        ])
    );
    // A tenant without users has not drifted.
    let (status, output, _) = tenants(&database, &["check", "client1", "client2"]);
    assert_eq!((status, output.as_str()), (Some(0), "without users: client2\n"));
    let (status, _, errors) = tenants(&database, &["check", "missing"]);
    assert_eq!(status, Some(1), "{errors}");
}

#[tokio::test]
async fn unknown_changed_and_missing_migrations_are_reported() {
    let database = TestDatabase::demo_with(
        "UPDATE client1._tenant_orders_migrations SET checksum = '\\xabcd' WHERE version = 1;
         INSERT INTO client1._tenant_orders_migrations SELECT 4, 'to come', now(), true, '', 0;
         DELETE FROM client2._tenant_orders_migrations WHERE version = 1;
         UPDATE client2._tenant_orders_migrations SET success = false",
    )
    .await;
    let (status, checked) = json(&database, &["check"]);
    assert_eq!(status, Some(1));
    let checksum = database
        .text("SELECT encode(checksum, 'hex') FROM public._tenant_orders_migrations")
        .await;
    let expected = checked[0]["differences"][0]["expected"].clone();
    assert_eq!(expected.as_str().unwrap().len(), checksum.len());
    assert_eq!(
        checked,
        json!([
            { "tenant": "client1", "version": 4, "differences": [
                difference("history", "migration 1", expected.as_str(), "abcd".into()),
                difference("history", "migration 4", None, "applied".into()),
            ] },
            { "tenant": "client2", "version": 0, "differences": [
                difference("history", "migration 2", "applied".into(), "unfinished".into()),
                difference("history", "migration 3", "applied".into(), "unfinished".into()),
                difference("history", "migration 1", "applied".into(), None),
            ] },
        ])
    );
    assert_eq!(json(&database, &["check", "--ignore-extra"]), (Some(1), checked));
}

#[tokio::test]
async fn tenants_with_the_same_drift_are_grouped() {
    let database = TestDatabase::demo().await;
    fill(&database, 8).await;
    let mut drift = String::new();
    for tenant in 1..=7 {
        writeln!(drift, "DROP INDEX t{tenant}.orders_user_id_idx;").unwrap();
    }
    drift.push_str("ALTER TABLE client1.items ADD note text");
    database.execute(drift).await;
    let before = catalog(&database).await;
    let (status, output, errors) = tenants(&database, &["check"]);
    assert_eq!(status, Some(1));
    assert_eq!(
        output,
        "client1:\n  \
           column items.note: unexpected (text)\n\
         t1, t2, t3, t4, t5 and 2 more:\n  \
           index orders_user_id_idx: missing (CREATE INDEX orders_user_id_idx ON orders USING btree \
         (user_id, creation_timestamp DESC NULLS LAST, id))\n  \
           fix for t1 (--json prints it for each tenant):\n    \
             CREATE INDEX orders_user_id_idx ON \"t1\".orders USING btree \
         (user_id, creation_timestamp DESC NULLS LAST, id);\n\
         without users: t1, t2, t3, t4, t5 and 3 more\n"
    );
    assert_eq!(errors, "error: 8 of 10 tenants differ from the migrations\n");
    assert_eq!(catalog(&database).await, before, "the check writes nothing");
}

/// Creates tenants t1, t2, …
async fn fill(database: &TestDatabase, tenants: usize) {
    let administration = AdminDatabase::new(&DatabaseUrl::from(database.url())).unwrap();
    for tenant in 1..=tenants {
        let schema = SchemaName::parse(&format!("t{tenant}")).unwrap();
        assert!(create_if_missing(&administration, &schema).await.unwrap());
    }
}

#[tokio::test]
async fn the_number_of_statements_does_not_grow_with_tenants() {
    let database = TestDatabase::demo().await;
    database
        .execute(format!(
            "ALTER DATABASE {} SET log_statement = 'all'",
            database.name()
        ))
        .await;
    let few = [statements(&database, "check"), statements(&database, "list")];
    fill(&database, 60).await;
    let many = [statements(&database, "check"), statements(&database, "list")];
    for (few, many) in few.into_iter().zip(many) {
        assert!(few > 5, "{few}");
        // A further message for each 50 tenants that are planned.
        assert!(many <= few + 4, "{few} for 2 tenants, {many} for 62");
    }
}

/// Returns the number of statements that a command executes.
fn statements(database: &TestDatabase, command: &str) -> usize {
    let count = || {
        let log = shared_cluster().log();
        log.matches("LOG:  statement: ").count() + log.matches("LOG:  execute ").count()
    };
    let before = count();
    let (status, _, errors) = tenants(database, &[command]);
    assert_eq!(status, Some(0), "{errors}");
    count() - before
}
