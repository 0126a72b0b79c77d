//! `tenants list`.

use serde_json::json;

use super::{json, tenants};
use crate::support::TestDatabase;

#[tokio::test]
async fn list_has_users_version_state_and_size() {
    let database = TestDatabase::demo_with(
        "CREATE SCHEMA ahead; CREATE SCHEMA broken;
         CREATE TABLE ahead._tenant_orders_migrations AS TABLE client1._tenant_orders_migrations;
         INSERT INTO ahead._tenant_orders_migrations SELECT 4, 'to come', now(), true, '', 0;
         CREATE TABLE broken._tenant_orders_migrations AS TABLE client1._tenant_orders_migrations;
         UPDATE broken._tenant_orders_migrations SET success = false WHERE version = 2;
         DELETE FROM client2._tenant_orders_migrations WHERE version >= 2;
         CREATE SCHEMA empty;
         CREATE SCHEMA old; CREATE TABLE old.items (); CREATE TABLE old.orders ();
         CREATE SCHEMA foreign_to_us; CREATE TABLE foreign_to_us.items ();
         INSERT INTO public.users (id, organization_id) VALUES
             ('a', 'ahead'), ('b', 'broken'), ('c', 'client1'), ('e', 'empty'),
             ('m', 'missing schema'), ('p', 'public'), ('q', 'public');",
    )
    .await;
    let size = async |schema: &str| {
        let size = format!(
            "SELECT sum(pg_total_relation_size(oid))::text FROM pg_class
             WHERE relnamespace = '{schema}'::regnamespace AND relkind = 'r'"
        );
        database.text(&size).await.parse::<u64>().unwrap()
    };
    let (status, listed) = json(&database, &["list"]);
    assert_eq!(status, Some(0));
    assert_eq!(
        listed,
        json!([
            { "name": "ahead", "users": 1, "version": 4, "state": "ahead", "size_bytes": size("ahead").await },
            { "name": "broken", "users": 1, "version": 3, "state": "broken", "size_bytes": size("broken").await },
            { "name": "client1", "users": 2, "version": 3, "state": "current", "size_bytes": size("client1").await },
            { "name": "client2", "users": 1, "version": 1, "state": "behind", "size_bytes": size("client2").await },
            { "name": "empty", "users": 1, "version": 0, "state": "behind", "size_bytes": 0 },
            { "name": "missing schema", "users": 1, "version": null, "state": "missing", "size_bytes": null },
            { "name": "old", "users": 0, "version": null, "state": "unadopted", "size_bytes": 0 },
            { "name": "public", "users": 2, "version": null, "state": "misnamed",
              "reason": "the schema name \"public\" is reserved", "size_bytes": null },
        ])
    );
    assert!(size("client1").await > 0);
}

#[tokio::test]
async fn list_prints_a_table() {
    let database = TestDatabase::demo_with(
        "INSERT INTO public.users (id, organization_id) VALUES ('x', E'two\\nlines')",
    )
    .await;
    let (status, output, errors) = tenants(&database, &["list"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    let mut lines: Vec<Vec<_>> = output
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    for tenant in &mut lines[1..=2] {
        tenant.truncate(4); // the size depends on the version of PostgreSQL
    }
    assert_eq!(
        lines,
        [
            vec!["NAME", "USERS", "VERSION", "STATE", "SIZE"],
            vec!["client1", "1", "3", "current"],
            vec!["client2", "1", "3", "current"],
            vec!["two\\nlines", "1", "-", "missing", "-"],
        ]
    );
}

#[tokio::test]
async fn an_empty_database_is_not_changed() {
    let database = TestDatabase::empty().await;
    assert_eq!(json(&database, &["list"]), (Some(0), json!([])));
    assert_eq!(json(&database, &["check"]), (Some(0), json!([])));
    assert!(
        !super::catalog(&database)
            .await
            .contains("_tenant_orders_migrations")
    );
}
