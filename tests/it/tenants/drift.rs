//! `tenants check`: differences and their fixes.

use serde_json::{Value, json};

use super::{assert_demo_has_no_drift, json, tenants};
use crate::support::TestDatabase;

/// Returns the demo after `statements`, and the differences of its tenant client1.
async fn drift(statements: &str) -> (TestDatabase, Value) {
    let database = TestDatabase::demo_with(statements).await;
    let (status, checked) = json(&database, &["check"]);
    assert_eq!(status, Some(1), "{checked}");
    assert_eq!(checked[0]["tenant"], "client1");
    assert_eq!(
        checked[1],
        json!({ "tenant": "client2", "version": 3, "differences": [] })
    );
    let differences = checked[0]["differences"].clone();
    (database, differences)
}

fn difference(
    kind: &str,
    object: &str,
    expected: Option<&str>,
    found: Option<&str>,
    fix: Option<&str>,
) -> Value {
    json!({ "kind": kind, "object": object, "expected": expected, "found": found, "fix": fix })
}

fn not_servable(reason: &str) -> Value {
    difference("service", "orders", "readable".into(), reason.into(), None)
}

fn missing_index_of_client1() -> Value {
    difference(
        "index",
        "orders_user_id_idx",
        "CREATE INDEX orders_user_id_idx ON orders USING btree \
         (user_id, creation_timestamp DESC NULLS LAST, id)"
            .into(),
        None,
        "CREATE INDEX orders_user_id_idx ON \"client1\".orders USING btree \
         (user_id, creation_timestamp DESC NULLS LAST, id);"
            .into(),
    )
}

#[tokio::test]
async fn migrated_tenants_have_no_drift() {
    let database = TestDatabase::demo().await;
    assert_demo_has_no_drift(&database);
    let (status, output, errors) = tenants(&database, &["check", "client2"]);
    assert_eq!(
        (status, output.as_str(), errors.as_str()),
        (Some(0), "", "1 tenant without drift\n")
    );
}

#[tokio::test]
async fn tenants_are_compared_at_their_version() {
    let database = TestDatabase::demo().await;
    let back_to_1 = "DROP INDEX client1.orders_user_id_idx;
                     ALTER TABLE client1.items ALTER price TYPE double precision;";
    database.execute(back_to_1).await;
    assert_eq!(json(&database, &["check"]).0, Some(1));
    database
        .execute("DELETE FROM client1._tenant_orders_migrations WHERE version >= 2")
        .await;
    let (status, checked) = json(&database, &["check"]);
    assert_eq!(status, Some(0));
    assert_eq!(
        checked[0],
        json!({ "tenant": "client1", "version": 1, "differences": [] })
    );
}

#[tokio::test]
async fn check_suggests_sql_for_safe_differences() {
    let (database, differences) = drift(
        "DROP INDEX client1.orders_user_id_idx;
         ALTER TABLE client1.orders DROP CONSTRAINT orders_user_id_fkey;
         ALTER TABLE client1.orders RENAME CONSTRAINT orders_item_id_fkey TO item_key;
         ALTER TABLE client1.orders ALTER quantity SET NOT NULL;
         ALTER TABLE client1.orders ALTER quantity SET DEFAULT 1;
         ALTER TABLE client1.items ALTER description TYPE text;
         ALTER TABLE client1.items ALTER price TYPE numeric(12, 2);
         ALTER TABLE client1.items ALTER creation_timestamp TYPE timestamp(3);",
    )
    .await;
    let table = |table: &str| format!(r#"ALTER TABLE "client1".{table}"#);
    assert_eq!(
        differences,
        json!([
            difference(
                "type",
                "items.creation_timestamp",
                "timestamp without time zone".into(),
                "timestamp(3) without time zone".into(),
                Some(
                    &(table("items") + " ALTER COLUMN creation_timestamp TYPE timestamp without time zone;")
                ),
            ),
            difference(
                "type",
                "items.description",
                "character varying".into(),
                "text".into(),
                Some(&(table("items") + " ALTER COLUMN description TYPE character varying;")),
            ),
            difference(
                "type",
                "items.price",
                "numeric".into(),
                "numeric(12,2)".into(),
                Some(&(table("items") + " ALTER COLUMN price TYPE numeric;")),
            ),
            difference(
                "nullability",
                "orders.quantity",
                "NULL".into(),
                "NOT NULL".into(),
                Some(&(table("orders") + " ALTER COLUMN quantity DROP NOT NULL;")),
            ),
            difference(
                "default",
                "orders.quantity",
                None,
                "1".into(),
                Some(&(table("orders") + " ALTER COLUMN quantity DROP DEFAULT;")),
            ),
            difference(
                "constraint",
                "orders.orders_item_id_fkey",
                "CONSTRAINT orders_item_id_fkey FOREIGN KEY (item_id) REFERENCES items(id)".into(),
                "CONSTRAINT item_key FOREIGN KEY (item_id) REFERENCES items(id)".into(),
                Some(&(table("orders") + " RENAME CONSTRAINT item_key TO orders_item_id_fkey;")),
            ),
            difference(
                "constraint",
                "orders.orders_user_id_fkey",
                "CONSTRAINT orders_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id)".into(),
                None,
                Some(
                    &(table("orders")
                        + " ADD CONSTRAINT orders_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);")
                ),
            ),
            missing_index_of_client1(),
        ])
    );
    assert_fixed(&database, &differences).await;
}

#[tokio::test]
async fn invalid_constraints_and_indexes_are_completed() {
    let (database, differences) = drift(
        "ALTER TABLE client1.orders DROP CONSTRAINT orders_user_id_fkey,
             ADD CONSTRAINT orders_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users (id) NOT VALID;
         UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'client1.orders_user_id_idx'::regclass;",
    )
    .await;
    let fixes: Vec<_> = differences
        .as_array()
        .unwrap()
        .iter()
        .map(|difference| {
            let found = difference["found"].as_str().unwrap();
            (
                found.rsplit_once(") ").unwrap().1,
                difference["fix"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        fixes,
        [
            (
                "NOT VALID",
                "ALTER TABLE \"client1\".orders VALIDATE CONSTRAINT orders_user_id_fkey;"
            ),
            ("INVALID", "REINDEX INDEX \"client1\".orders_user_id_idx;"),
        ]
    );
    assert_fixed(&database, &differences).await;
}

/// Runs all fixes, and asserts that no difference remains.
async fn assert_fixed(database: &TestDatabase, differences: &Value) {
    for difference in differences.as_array().unwrap() {
        database.execute(difference["fix"].as_str().unwrap()).await;
    }
    assert_eq!(json(database, &["check"]).0, Some(0));
}

#[tokio::test]
async fn differences_that_need_a_decision_have_no_fix() {
    let (_, differences) = drift(
        "ALTER TABLE client1.orders DROP CONSTRAINT orders_item_id_fkey;
         DROP TABLE client1.items; CREATE VIEW client1.items AS SELECT 1 AS id;
         ALTER TABLE client1.orders DROP CONSTRAINT orders_user_id_fkey,
             ADD CONSTRAINT orders_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users ON DELETE CASCADE;
         ALTER TABLE client1.orders ADD CONSTRAINT orders_item_id_fkey CHECK (item_id <> '');
         ALTER TABLE client1.orders DROP creation_timestamp, ALTER quantity TYPE text;",
    )
    .await;
    assert_eq!(
        differences,
        json!([
            difference("table", "items", "table".into(), "view".into(), None),
            difference(
                "column",
                "orders.creation_timestamp",
                "timestamp without time zone".into(),
                None,
                None,
            ),
            difference(
                "type",
                "orders.quantity",
                "integer".into(),
                "text".into(),
                None
            ),
            difference(
                "constraint",
                "orders.orders_item_id_fkey",
                "CONSTRAINT orders_item_id_fkey FOREIGN KEY (item_id) REFERENCES items(id)".into(),
                "CONSTRAINT orders_item_id_fkey CHECK (((item_id)::text <> ''::text))".into(),
                None,
            ),
            difference(
                "constraint",
                "orders.orders_user_id_fkey",
                "CONSTRAINT orders_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id)".into(),
                "CONSTRAINT orders_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE"
                    .into(),
                None,
            ),
            // It was dropped with its column.
            missing_index_of_client1(),
            not_servable("column items.description is missing"),
            not_servable("column items.price is missing"),
            not_servable("column orders.creation_timestamp is missing"),
        ])
    );
}

#[tokio::test]
async fn additional_objects_are_drift_unless_ignored() {
    let (database, differences) = drift(
        r#"CREATE TABLE client1."Odd name" (); CREATE VIEW client1.cheap AS SELECT 1 AS one;
           ALTER TABLE client1.items ADD discount integer NOT NULL DEFAULT 0, ADD "Note" serial;
           CREATE INDEX items_discount ON client1.items (discount);
           ALTER TABLE client1.orders ADD CONSTRAINT positive CHECK (quantity > 0);"#,
    )
    .await;
    let extra = |kind, object, found: &str| difference(kind, object, None, found.into(), None);
    assert_eq!(
        differences,
        json!([
            extra("column", "items.\"Note\"", "integer"),
            extra("column", "items.discount", "integer"),
            extra(
                "index",
                "items_discount",
                "CREATE INDEX items_discount ON items USING btree (discount)"
            ),
            extra(
                "constraint",
                "orders.positive",
                "CONSTRAINT positive CHECK ((quantity > 0))"
            ),
            extra("table", "\"Odd name\"", "table"),
            extra("table", "cheap", "view"),
            extra(
                "sequence",
                "\"items_Note_seq\"",
                "integer START 1 INCREMENT 1 MINVALUE 1 MAXVALUE 2147483647 CACHE 1 OWNED BY items.\"Note\""
            ),
        ])
    );
    assert_eq!(json(&database, &["check", "--ignore-extra"]).0, Some(0));
    database.execute("DROP INDEX client1.orders_user_id_idx").await;
    let (status, checked) = json(&database, &["check", "--ignore-extra", "client1"]);
    assert_eq!(status, Some(1));
    assert_eq!(checked[0]["differences"].as_array().unwrap().len(), 1);
}
