//! Problems of a single tenant.

use insta::assert_json_snapshot;
use tenant_orders::config::{DatabaseUrl, PoolSettings};
use tenant_orders::users::UserDirectory;

use super::assert_reveals_no_internals;
use crate::support::{Service, TestDatabase, snapshot};

#[tokio::test]
async fn unusable_tenant_is_unavailable() {
    let database = TestDatabase::demo_with(
        "CREATE SCHEMA empty;
         CREATE SCHEMA no_orders; CREATE TABLE no_orders.items (LIKE client1.items);
         CREATE SCHEMA no_items; CREATE TABLE no_items.orders (LIKE client1.orders);
         CREATE SCHEMA no_price; CREATE TABLE no_price.orders (LIKE client1.orders);
         CREATE TABLE no_price.items (id varchar, description varchar);
         CREATE SCHEMA unfilled; CREATE TABLE unfilled.orders (LIKE client1.orders);
         CREATE MATERIALIZED VIEW unfilled.items AS SELECT * FROM client1.items WITH NO DATA;
         -- A search path with more than the tenant would find these.
         CREATE TABLE public.items (LIKE client1.items); CREATE TABLE public.orders (LIKE client1.orders);
         INSERT INTO public.items (id, description, price) VALUES ('1', 'a trap', 1);
         ALTER TABLE public.users ALTER organization_id DROP NOT NULL;",
    )
    .await;
    let service = Service::over(&database);
    let too_long = "x".repeat(64);
    for (number, organization) in [
        "missing",
        "empty",
        "no_orders",
        "no_items",
        "no_price",
        "unfilled",
        "public",
        "pg_catalog",
        "pg_temp",
        "information_schema",
        "$user",
        "",
        too_long.as_str(),
    ]
    .into_iter()
    .enumerate()
    {
        database
            .execute(format!(
                "INSERT INTO public.users (id, organization_id) VALUES ('odd{number}', '{organization}');
                 INSERT INTO public.orders (id, user_id, item_id, quantity) VALUES ('{number}', 'odd{number}', '1', 1)"
            ))
            .await;
        let answer = service.get(&format!("/users/odd{number}/orders")).await;
        answer.problem(503, "tenant-unavailable");
        assert_reveals_no_internals(&answer);
    }
    database
        .execute("INSERT INTO public.users (id) VALUES ('without tenant')")
        .await;
    service
        .get("/users/without%20tenant/orders")
        .await
        .problem(503, "tenant-unavailable");
    // Other tenants are not affected.
    assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60000.00");
    assert_json_snapshot!(snapshot(&service.get("/users/odd0/orders").await), @r#"
    {
      "body": {
        "detail": "The data of the user's organization is missing, incomplete or not readable.",
        "instance": "/users/odd0/orders",
        "request_id": "[request id]",
        "status": 503,
        "title": "Tenant unavailable",
        "type": "/problems/tenant-unavailable"
      },
      "headers": {
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "content-type": "application/problem+json",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "x-request-id": "[request id]"
      },
      "status": 503
    }
    "#);
}

#[tokio::test]
async fn unreadable_tenant_is_unavailable() {
    let database = TestDatabase::demo_with(
        "CREATE ROLE half_blind LOGIN; GRANT USAGE ON SCHEMA client1, client2 TO half_blind;
         GRANT SELECT ON public.users, client1.items, client1.orders, client2.items TO half_blind;",
    )
    .await;
    let url = DatabaseUrl::from(database.url_as("half_blind"));
    let service = Service::new(UserDirectory::open(&url, &PoolSettings::default()).unwrap());
    assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60000.00");
    service
        .get("/users/2/orders")
        .await
        .problem(503, "tenant-unavailable");
    database
        .execute("REVOKE USAGE ON SCHEMA client1 FROM half_blind")
        .await;
    service
        .get("/users/1/orders")
        .await
        .problem(503, "tenant-unavailable");
}

#[tokio::test]
async fn inexact_data_is_invalid() {
    let database = TestDatabase::demo().await;
    let service = Service::over(&database);
    let price = "UPDATE client1.items SET price = 2000 WHERE id = '2'";
    let time = "UPDATE client1.orders SET creation_timestamp = NULL";
    for (change, undo) in [
        ("UPDATE client1.items SET price = 'NaN' WHERE id = '2'", price),
        (
            "UPDATE client1.items SET price = 'Infinity' WHERE id = '2'",
            price,
        ),
        (
            "UPDATE client1.items SET price = '-Infinity' WHERE id = '2'",
            price,
        ),
        ("UPDATE client1.items SET price = 1e30 WHERE id = '2'", price),
        ("UPDATE client1.items SET price = 1e-29 WHERE id = '2'", price),
        // Only the product is out of range.
        ("UPDATE client1.items SET price = 7e28 WHERE id = '2'", price),
        ("UPDATE client1.orders SET creation_timestamp = 'infinity'", time),
        ("UPDATE client1.orders SET creation_timestamp = '-infinity'", time),
        (
            "UPDATE client1.orders SET creation_timestamp = '0044-03-15 BC'",
            time,
        ),
        (
            "UPDATE client1.orders SET creation_timestamp = '10000-01-01'",
            time,
        ),
        (
            "ALTER TABLE client1.items ALTER price TYPE text; UPDATE client1.items SET price = 'ask us' WHERE id = '2'",
            price,
        ),
    ] {
        if change.contains("Infinity") && database.server_version().await < 14 {
            continue; // numeric has no Infinity
        }
        database.execute(change).await;
        let answer = service.get("/users/1/orders").await;
        answer.problem(500, "tenant-data-invalid");
        assert_reveals_no_internals(&answer);
        // Other tenants are not affected.
        assert_eq!(service.get("/users/2/orders").await.ok()["total_due"], "10500.00");
        database.execute(undo).await;
        assert_eq!(
            service.get("/users/1/orders").await.ok()["total_due"],
            "60000.00",
            "{undo}"
        );
    }
}

#[tokio::test]
async fn invalid_price_outside_the_page_invalidates_the_total() {
    let database = TestDatabase::demo().await;
    let service = Service::over(&database);
    for price in ["'NaN'", "1e30", "1e-29"] {
        database
            .execute(format!("UPDATE client1.items SET price = {price} WHERE id = '2'"))
            .await;
        service
            .get("/users/1/orders?limit=1")
            .await
            .problem(500, "tenant-data-invalid");
    }
    assert_json_snapshot!(snapshot(&service.get("/users/1/orders?limit=1").await), @r#"
    {
      "body": {
        "detail": "The data of the user's organization contains a value that cannot be represented exactly.",
        "instance": "/users/1/orders",
        "request_id": "[request id]",
        "status": 500,
        "title": "Invalid tenant data",
        "type": "/problems/tenant-data-invalid"
      },
      "headers": {
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "content-type": "application/problem+json",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "x-request-id": "[request id]"
      },
      "status": 500
    }
    "#);
}
