//! `migrate --adopt`: accepted and refused schemas.

use serde_json::{Value, json};

use super::{assert_refused, json, tenants};
use crate::support::{Service, ServiceProcess, TestDatabase, finished};

/// Returns the differences that need a decision, according to `check`.
fn undecided(database: &TestDatabase) -> Vec<Value> {
    let (_, checked) = json(database, &["check", "client1"]);
    let differences = checked[0]["differences"].as_array().unwrap().iter();
    let undecided = differences.filter(|found| found["fix"].is_null() && found["kind"] != "supported_type");
    undecided.cloned().collect()
}

/// Adopts and migrates the tenant client1 of an existing database after `statements`. Returns the exit status,
/// standard output and standard error.
async fn adopt(database: &TestDatabase, statements: &str) -> (Option<i32>, String, String) {
    database.execute(statements).await;
    finished(
        ServiceProcess::command()
            .args(["migrate", "--adopt", "--tenant", "client1"])
            .env("DATABASE_URL", database.url()),
    )
}

#[tokio::test]
async fn harmless_differences_are_adopted() {
    for differing in [
        "ALTER TABLE client1.items ALTER description TYPE text, ALTER id TYPE varchar(20)",
        "ALTER TABLE client1.items ALTER price SET NOT NULL, ALTER price SET DEFAULT 0",
        "ALTER TABLE client1.items ALTER price TYPE numeric(12, 2)",
        "ALTER TABLE client1.items ALTER price TYPE real",
        "ALTER TABLE client1.items ALTER price TYPE integer",
        "ALTER TABLE client1.items ALTER description TYPE varchar COLLATE \"C\"",
        "ALTER TABLE client1.orders ALTER quantity TYPE bigint, ALTER quantity SET NOT NULL",
        "ALTER TABLE client1.orders DROP CONSTRAINT orders_user_id_fkey, DROP CONSTRAINT orders_item_id_fkey",
        "ALTER TABLE client1.orders ALTER quantity TYPE numeric(10, 3)",
        "ALTER TABLE client1.orders ALTER quantity TYPE double precision",
        "ALTER TABLE client1.orders ALTER quantity TYPE real",
        "CREATE EXTENSION citext; ALTER TABLE client1.orders DROP CONSTRAINT orders_item_id_fkey;
         ALTER TABLE client1.items ALTER id TYPE citext, ALTER description TYPE citext;
         ALTER TABLE client1.orders ALTER id TYPE citext, ALTER item_id TYPE citext, ALTER user_id TYPE citext,
             ADD FOREIGN KEY (item_id) REFERENCES client1.items;
         ALTER TABLE public.users ALTER mail TYPE citext",
        "ALTER TABLE client1.orders DROP CONSTRAINT orders_item_id_fkey;
         ALTER TABLE client1.items ALTER id TYPE bigint USING id::bigint;
         ALTER TABLE client1.orders ALTER id TYPE bigint USING id::bigint, ALTER item_id TYPE bigint USING item_id::bigint,
             ADD FOREIGN KEY (item_id) REFERENCES client1.items",
        "ALTER TABLE client1.orders RENAME CONSTRAINT orders_pkey TO pk",
    ] {
        let database = TestDatabase::existing().await;
        let (status, output, errors) = adopt(&database, differing).await;
        assert_eq!(status, Some(0), "{differing}: {output}{errors}");
        let (_, listed) = json(&database, &["list"]);
        assert_eq!(listed[0]["state"], "current", "{differing}");
        let page = Service::over(&database).get("/users/1/orders").await.ok();
        assert_eq!(page["total_due"], "60000.00", "{differing}");
        assert_eq!(undecided(&database), Vec::<Value>::new(), "{differing}");
    }
}

#[tokio::test]
async fn a_refusal_lists_all_obstacles_and_changes_nothing() {
    for (statements, reason) in [
        (
            "DROP TABLE client1.orders",
            "cannot be adopted: there is no table orders",
        ),
        (
            "ALTER TABLE client1.items DROP description, ALTER price TYPE text",
            "there is no column items.description; \
             items.price is text, not double precision or real or numeric or integer or bigint or smallint",
        ),
        (
            "ALTER TABLE client1.orders ALTER creation_timestamp TYPE timestamptz, DROP CONSTRAINT orders_pkey",
            "orders.creation_timestamp is timestamp with time zone, not timestamp without time zone; \
             orders has no primary key (id)",
        ),
        (
            "ALTER TABLE client1.orders RENAME TO all_orders; \
             CREATE VIEW client1.orders AS SELECT * FROM client1.all_orders",
            "orders is a view",
        ),
        (
            "ALTER TABLE client1.orders ADD CONSTRAINT orders_user_id_idx UNIQUE (user_id, id)",
            "constraint orders.orders_user_id_idx has the name of an index of the migrations; rename it",
        ),
        (
            "CREATE TABLE client1.orders_user_id_idx ()",
            "table orders_user_id_idx has the name of an index of the migrations",
        ),
        (
            "CREATE INDEX orders_user_id_idx ON client1.orders (user_id);
             CREATE INDEX orders_user_id_idx_adopted ON client1.orders (item_id)",
            "index orders_user_id_idx_adopted has the name of an index of the migrations",
        ),
    ] {
        let database = TestDatabase::existing().await;
        let run = adopt(&database, statements).await;
        assert_refused(&run, reason);
        let catalog = super::catalog(&database).await;
        assert!(
            !catalog.contains("client1._tenant_orders_migrations"),
            "{catalog}"
        );
    }
}

#[tokio::test]
async fn additional_objects_are_kept_and_reported() {
    let database = TestDatabase::existing().await;
    let (status, output, errors) = adopt(
        &database,
        "CREATE TABLE client1.audit (); CREATE INDEX by_item ON client1.orders (item_id);
         CREATE INDEX ON client1.orders (user_id);
         ALTER TABLE client1.items ADD note text, ADD CONSTRAINT priced CHECK (price >= 0)",
    )
    .await;
    assert_eq!(status, Some(0), "{errors}");
    let output = output + &errors;
    for extra in [
        "table audit",
        "column items.note text",
        "constraint items.priced CHECK",
        "index by_item",
        // Migration 3 creates an index of this name.
        "index orders_user_id_idx, renamed to orders_user_id_idx_adopted",
    ] {
        assert!(output.contains(extra), "{extra}: {output}");
    }
    let (status, checked) = json(&database, &["check", "client1"]);
    assert_eq!(status, Some(1));
    let objects: Vec<_> = checked[0]["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|difference| (&difference["object"], &difference["expected"]))
        .collect();
    assert_eq!(
        json!(objects),
        json!([
            ["items.note", null],
            ["items.priced", null],
            ["by_item", null],
            ["orders_user_id_idx_adopted", null],
            ["audit", null],
        ])
    );
    assert_eq!(
        json(&database, &["check", "client1", "--ignore-extra"]).0,
        Some(0)
    );
}

#[tokio::test]
async fn supported_types_of_an_adopted_tenant_are_no_drift() {
    let database = TestDatabase::existing().await;
    let statements = "ALTER TABLE client1.orders ALTER quantity TYPE numeric(10, 3);
                      UPDATE client1.orders SET quantity = 2.5 WHERE id = '1'";
    assert_eq!(adopt(&database, statements).await.0, Some(0));
    let page = Service::over(&database).get("/users/1/orders").await.ok();
    assert_eq!(page["total_due"], "22500.00");
    let (status, output, errors) = tenants(&database, &["check", "client1"]);
    assert_eq!(
        (status, output.as_str()),
        (Some(0), "with other types that are supported: client1\n"),
        "{errors}"
    );
    let (_, checked) = json(&database, &["check", "client1"]);
    assert_eq!(
        checked[0]["differences"],
        json!([{ "kind": "supported_type", "object": "orders.quantity", "expected": "integer",
                 "found": "numeric(10,3)", "fix": null }])
    );
}
