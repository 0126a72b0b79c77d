//! `tenants check`: tenants that the service cannot read.

use super::{json, tenants, tenants_at};
use crate::support::{Service, ServiceProcess, TestDatabase, finished};

/// Returns the reasons for which client1 cannot be served. The request to the service must agree.
async fn reasons(statements: &str) -> Vec<String> {
    let database = TestDatabase::demo_with(statements).await;
    let (_, checked) = json(&database, &["check", "client1", "--ignore-extra"]);
    let differences = checked[0]["differences"].as_array().unwrap();
    let reasons: Vec<_> = differences
        .iter()
        .filter(|difference| difference["kind"] == "service")
        .map(|difference| difference["found"].as_str().unwrap().to_owned())
        .collect();
    let reply = Service::over(&database).get("/users/1/orders").await;
    assert_eq!(
        reply.status == 200,
        reasons.is_empty(),
        "{statements}: {reasons:?}"
    );
    reasons
}

#[tokio::test]
async fn reasons_why_a_tenant_cannot_be_served_are_reported() {
    for (statements, expected) in [
        (
            "ALTER TABLE client1.items DROP description, DROP price",
            &[
                "column items.description is missing",
                "column items.price is missing",
            ][..],
        ),
        ("DROP TABLE client1.orders", &["table orders is missing"]),
        (
            "ALTER TABLE client1.orders RENAME TO purchases;
             CREATE VIEW client1.orders AS SELECT id, quantity, user_id, item_id FROM client1.purchases",
            &["column orders.creation_timestamp is missing"],
        ),
        (
            "ALTER TABLE client1.orders ALTER creation_timestamp TYPE integer USING 1",
            &["cannot cast type integer to timestamp without time zone"],
        ),
        (
            "ALTER TABLE public.users DROP name",
            &["public.users: column \"name\" does not exist"],
        ),
    ] {
        assert_eq!(reasons(statements).await, expected);
    }
}

#[tokio::test]
async fn tables_of_other_shapes_can_be_served() {
    for statements in [
        "ALTER TABLE client1.orders RENAME TO purchases;
         CREATE VIEW client1.orders AS SELECT * FROM client1.purchases",
        "ALTER TABLE client1.items RENAME TO articles;
         ALTER TABLE client1.orders DROP CONSTRAINT orders_item_id_fkey;
         CREATE MATERIALIZED VIEW client1.items AS SELECT * FROM client1.articles",
        "ALTER TABLE client1.orders RENAME TO old; ALTER INDEX client1.orders_user_id_idx RENAME TO old_idx;
         CREATE TABLE client1.orders (LIKE client1.old) PARTITION BY HASH (id);
         CREATE TABLE client1.part PARTITION OF client1.orders FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        r#"ALTER TABLE client1.orders DROP CONSTRAINT orders_item_id_fkey, ALTER item_id TYPE varchar COLLATE "C";
           ALTER TABLE client1.items ALTER id TYPE varchar COLLATE "POSIX""#,
        "ALTER TABLE client1.orders DROP CONSTRAINT orders_item_id_fkey, ALTER item_id TYPE bigint USING item_id::bigint,
             ALTER creation_timestamp TYPE timestamptz, ALTER quantity TYPE numeric;
         ALTER TABLE client1.items ALTER id TYPE uuid USING pg_catalog.gen_random_uuid(), ALTER price TYPE money USING 1",
    ] {
        let reasons = reasons(statements).await;
        assert!(reasons.is_empty(), "{statements}: {reasons:?}");
    }
}

#[tokio::test]
async fn all_tenants_are_checked_beyond_one_that_fails() {
    let database = TestDatabase::demo().await;
    let tenant = "CREATE SCHEMA t%s; CREATE TABLE t%1$s.orders (LIKE client1.orders); CREATE TABLE t%1$s.items (LIKE client1.items)";
    database
        .execute(format!(
            "DO $$ BEGIN FOR n IN 100..205 LOOP EXECUTE format('{tenant}', n); END LOOP; END $$;
             ALTER TABLE t100.items DROP price; ALTER TABLE t149.items DROP price; ALTER TABLE t150.items DROP price;
             ALTER TABLE t205.items DROP price"
        ))
        .await;
    let (status, output, _) = tenants(&database, &["check"]);
    assert_eq!(status, Some(1));
    let lines: Vec<_> = output.lines().collect();
    let broken = lines
        .iter()
        .position(|line| line.contains("items.price is missing"));
    assert_eq!(lines[broken.unwrap() - 2], "t100, t149, t150, t205:", "{output}");
    assert_eq!(output.matches("cannot be served").count(), 1, "{output}");
}

#[tokio::test]
async fn tenants_are_checked_as_their_role() {
    let database = TestDatabase::demo().await;
    let role = format!("{}_reader", database.name());
    database
        .execute(format!(
            "ALTER SCHEMA client1 RENAME TO {role}; UPDATE public.users SET organization_id = '{role}' WHERE id = '1'"
        ))
        .await;
    let check = || {
        finished(
            ServiceProcess::command()
                .args(["tenants", "check", &role, "--only", "service"])
                .env("DATABASE_URL", database.url())
                .env("TENANT_ROLES", "on"),
        )
    };
    assert_eq!(tenants_at(&database.url(), &["check", &role]).0, Some(0));
    for (statements, expected) in [
        (
            String::new(),
            format!("cannot be served: role \"{role}\" does not exist"),
        ),
        (
            format!(
                "CREATE ROLE {role}; GRANT USAGE ON SCHEMA {role} TO {role}; GRANT SELECT ON {role}.orders TO {role}"
            ),
            "cannot be served: permission denied for table items".to_owned(),
        ),
        (
            format!(
                "GRANT SELECT ON {role}.items TO {role}; ALTER TABLE {role}.items ENABLE ROW LEVEL SECURITY"
            ),
            "cannot be served: query would be affected by row-level security policy for table \"items\""
                .to_owned(),
        ),
        (format!("ALTER ROLE {role} BYPASSRLS"), String::new()),
    ] {
        database.execute(statements).await;
        let (status, output, errors) = check();
        assert_eq!(status, Some(i32::from(!expected.is_empty())), "{output}{errors}");
        assert!(output.contains(&expected), "{output}");
    }
    database
        .execute(format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await;
}
