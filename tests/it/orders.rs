//! `GET /users/{id}/orders`, when all is well.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Service, TestDatabase};

/// A user `u` of a tenant `shop`, whose tables are as tenant migrations leave them.
async fn shop() -> TestDatabase {
    let database = TestDatabase::demo().await;
    database
        .execute(
            "CREATE SCHEMA shop;
             CREATE TABLE shop.items (LIKE client1.items INCLUDING ALL);
             CREATE TABLE shop.orders (LIKE client1.orders INCLUDING ALL);
             INSERT INTO public.users (id, name, organization_id) VALUES ('u', 'shopper', 'shop');",
        )
        .await;
    database
}

fn ids(page: &Value) -> Vec<String> {
    let orders = page["orders"].as_array().unwrap();
    orders
        .iter()
        .map(|order| order["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_demo_users_see_the_prices_of_their_own_tenants() {
    let service = Service::over(&TestDatabase::demo().await);
    assert_eq!(
        service.get("/users/1/orders").await.ok(),
        json!({
            "user": { "id": "1", "name": "rich_dude", "organization_id": "client1" },
            "orders": [
                { "id": "1", "created_at": null, "item": { "id": "1", "description": "Tesla" },
                  "unit_price": "5000.00", "quantity": 10, "line_total": "50000.00" },
                { "id": "2", "created_at": null, "item": { "id": "2", "description": "Huawei" },
                  "unit_price": "2000.00", "quantity": 5, "line_total": "10000.00" },
            ],
            "total_due": "60000.00",
            "next_cursor": null,
        })
    );
    assert_eq!(
        service.get("/users/2/orders").await.ok(),
        json!({
            "user": { "id": "2", "name": "poor_dude", "organization_id": "client2" },
            "orders": [
                { "id": "1", "created_at": null, "item": { "id": "1", "description": "Tesla" },
                  "unit_price": "1000.00", "quantity": 10, "line_total": "10000.00" },
                { "id": "2", "created_at": null, "item": { "id": "2", "description": "Huawei" },
                  "unit_price": "100.00", "quantity": 5, "line_total": "500.00" },
            ],
            "total_due": "10500.00",
            "next_cursor": null,
        })
    );
}

#[tokio::test]
async fn a_user_without_orders_or_name_owes_nothing() {
    let database = shop().await;
    database
        .execute("UPDATE public.users SET name = NULL WHERE id = 'u'")
        .await;
    assert_eq!(
        Service::over(&database).get("/users/u/orders").await.ok(),
        json!({
            "user": { "id": "u", "name": null, "organization_id": "shop" },
            "orders": [], "total_due": "0.00", "next_cursor": null,
        })
    );
}

#[tokio::test]
async fn money_is_exact_whatever_the_type_of_the_column() {
    for column in ["double precision", "numeric", "numeric(30,12)", "text"] {
        let database = shop().await;
        database
            .execute(format!(
                "ALTER TABLE shop.items ALTER price TYPE {column};
                 INSERT INTO shop.items (id, price) VALUES
                    ('a', 0.1), ('b', 19.999), ('c', 5), ('d', 0.0000001), ('e', 123456789012.25), ('f', -1.5);
                 INSERT INTO shop.orders (id, quantity, user_id, item_id) VALUES
                    ('1', 3, 'u', 'a'), ('2', 1000, 'u', 'b'), ('3', 0, 'u', 'c'), ('4', 10, 'u', 'd'),
                    ('5', 2147483647, 'u', 'e'), ('6', 2, 'u', 'f'), ('7', -1, 'u', 'f');",
            ))
            .await;
        let service = Service::over(&database);
        let page = service.get("/users/u/orders").await.ok();
        let told: Vec<_> = page["orders"]
            .as_array()
            .unwrap()
            .iter()
            .map(|order| {
                (
                    order["unit_price"].as_str().unwrap(),
                    order["line_total"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("0.10", "0.30"),
                ("19.999", "19999.00"),
                ("5.00", "0.00"),
                ("0.0000001", "0.000001"),
                ("123456789012.25", "265121435514936157675.75"),
                ("-1.50", "-3.00"),
                ("-1.50", "1.50"),
            ],
            "{column}"
        );
        assert_eq!(page["total_due"], "265121435514936177673.550001", "{column}");
        // The database adds up for a page, the service for a whole list.
        assert_eq!(
            service.get("/users/u/orders?limit=1").await.ok()["total_due"],
            page["total_due"]
        );
    }
}

#[tokio::test]
async fn the_total_is_the_same_whatever_the_page_though_parts_of_the_sum_are_larger() {
    let database = shop().await;
    database
        .execute(
            "INSERT INTO shop.items (id, price) VALUES ('a', 123456789012.34), ('b', 0.00000123456789012345);
             INSERT INTO shop.orders (id, quantity, user_id, item_id) VALUES
                ('1', 1000, 'u', 'a'), ('2', 1, 'u', 'b'), ('3', -1, 'u', 'b');",
        )
        .await;
    let service = Service::over(&database);
    for limit in [1, 2, 3, 100] {
        let page = service.get(&format!("/users/u/orders?limit={limit}")).await.ok();
        assert_eq!(page["total_due"], "123456789012340.00", "limit {limit}");
    }
}

#[tokio::test]
async fn what_has_no_price_or_quantity_adds_nothing() {
    let database = shop().await;
    database
        .execute(
            "INSERT INTO shop.items (id, description, price) VALUES ('a', 'priced', 2), ('b', NULL, NULL);
             INSERT INTO shop.orders (id, quantity, user_id, item_id) VALUES
                ('1', NULL, 'u', 'a'), ('2', 3, 'u', 'b'), ('3', 3, 'u', 'a');",
        )
        .await;
    let service = Service::over(&database);
    let page = service.get("/users/u/orders").await.ok();
    assert_eq!(
        page["orders"],
        json!([
            { "id": "1", "created_at": null, "item": { "id": "a", "description": "priced" },
              "unit_price": "2.00", "quantity": null, "line_total": null },
            { "id": "2", "created_at": null, "item": { "id": "b", "description": null },
              "unit_price": null, "quantity": 3, "line_total": null },
            { "id": "3", "created_at": null, "item": { "id": "a", "description": "priced" },
              "unit_price": "2.00", "quantity": 3, "line_total": "6.00" },
        ])
    );
    assert_eq!(page["total_due"], "6.00");
    assert_eq!(
        service.get("/users/u/orders?limit=1").await.ok()["total_due"],
        "6.00"
    );
}

#[tokio::test]
async fn an_order_without_its_item_is_still_told() {
    let database = shop().await;
    database
        .execute("INSERT INTO shop.orders (id, quantity, user_id, item_id) VALUES ('1', 2, 'u', NULL), ('2', 2, 'u', 'gone')")
        .await;
    let page = Service::over(&database).get("/users/u/orders").await.ok();
    assert_eq!(
        page["orders"],
        json!([
            { "id": "1", "created_at": null, "item": { "id": null, "description": null },
              "unit_price": null, "quantity": 2, "line_total": null },
            { "id": "2", "created_at": null, "item": { "id": "gone", "description": null },
              "unit_price": null, "quantity": 2, "line_total": null },
        ])
    );
    assert_eq!(page["total_due"], "0.00");
}

#[tokio::test]
async fn only_the_users_own_orders_are_told() {
    let database = shop().await;
    database
        .execute(
            "INSERT INTO public.users (id, organization_id) VALUES ('v', 'shop');
             INSERT INTO shop.orders (id, user_id) VALUES ('1', 'u'), ('2', 'v'), ('3', NULL);",
        )
        .await;
    let service = Service::over(&database);
    assert_eq!(ids(&service.get("/users/u/orders").await.ok()), ["1"]);
    assert_eq!(ids(&service.get("/users/v/orders").await.ok()), ["2"]);
}

#[tokio::test]
async fn the_newest_come_first_and_those_without_a_time_last() {
    let database = shop().await;
    database
        .execute(
            "INSERT INTO shop.orders (id, user_id, creation_timestamp) VALUES
                ('old', 'u', '1999-12-31 23:59:59.999999'), ('b', 'u', NULL), ('new', 'u', '2024-05-06 07:08:09'),
                ('a', 'u', NULL), ('tie2', 'u', '2020-01-01 00:00:00.5'), ('tie1', 'u', '2020-01-01 00:00:00.5')",
        )
        .await;
    let page = Service::over(&database).get("/users/u/orders").await.ok();
    assert_eq!(ids(&page), ["new", "tie1", "tie2", "old", "a", "b"]);
    let times: Vec<_> = page["orders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|order| &order["created_at"])
        .collect();
    assert_eq!(
        times,
        [
            &json!("2024-05-06T07:08:09"),
            &json!("2020-01-01T00:00:00.500000"),
            &json!("2020-01-01T00:00:00.500000"),
            &json!("1999-12-31T23:59:59.999999"),
            &Value::Null,
            &Value::Null,
        ]
    );
}

#[tokio::test]
async fn pages_of_any_size_walk_through_all_orders() {
    let database = shop().await;
    database
        .execute(
            "INSERT INTO shop.items (id, price) VALUES ('a', 1.01);
             INSERT INTO shop.orders (id, user_id, item_id, quantity, creation_timestamp)
             SELECT n, 'u', 'a', n, CASE WHEN n % 3 > 0 THEN timestamp '2024-01-01 00:00:00.1' + (n % 4) * interval '1 second' END
             FROM generate_series(1, 17) n",
        )
        .await;
    let service = Service::over(&database);
    let whole = service.get("/users/u/orders").await;
    assert!(whole.header("link").is_none());
    let whole = whole.ok();
    assert_eq!(whole["orders"].as_array().unwrap().len(), 17);
    assert_eq!(whole["total_due"], "154.53");
    for limit in [1, 2, 3, 5, 16, 17, 18] {
        let mut seen = Vec::new();
        let mut next = Some(format!("/users/u/orders?limit={limit}"));
        while let Some(path) = next {
            let answer = service.get(&path).await;
            next = answer.next_page(&path);
            let page = answer.ok();
            assert_eq!(page["next_cursor"].is_null(), next.is_none());
            if let Some(next) = &next {
                assert!(next.ends_with(page["next_cursor"].as_str().unwrap()));
                assert_eq!(page["orders"].as_array().unwrap().len(), limit);
            }
            assert_eq!(page["total_due"], whole["total_due"]);
            assert_eq!(page["user"], whole["user"]);
            seen.extend(page["orders"].as_array().unwrap().clone());
        }
        assert_eq!(&seen, whole["orders"].as_array().unwrap(), "limit {limit}");
    }
}

#[tokio::test]
async fn a_cursor_survives_what_happens_to_the_orders() {
    let database = shop().await;
    database
        .execute(
            "INSERT INTO shop.orders (id, user_id, creation_timestamp)
             SELECT n, 'u', timestamp '2024-01-01' + n * interval '1 day' FROM generate_series(1, 4) n",
        )
        .await;
    let service = Service::over(&database);
    let page = service.get("/users/u/orders?limit=2").await.ok();
    assert_eq!(ids(&page), ["4", "3"]);
    let next = format!(
        "/users/u/orders?limit=2&cursor={}",
        page["next_cursor"].as_str().unwrap()
    );
    // A newer order comes in, and the one that the cursor names goes.
    database
        .execute(
            "INSERT INTO shop.orders (id, user_id, creation_timestamp) VALUES ('5', 'u', '2025-01-01');
             DELETE FROM shop.orders WHERE id = '3'",
        )
        .await;
    assert_eq!(ids(&service.get(&next).await.ok()), ["2", "1"]);
    database
        .execute("DELETE FROM shop.orders WHERE id IN ('1', '2')")
        .await;
    let beyond = service.get(&next).await.ok();
    assert_eq!(beyond["orders"], json!([]));
    assert_eq!(beyond["next_cursor"], Value::Null);
}

#[tokio::test]
async fn an_empty_page_tells_the_total_nonetheless() {
    let service = Service::over(&TestDatabase::demo().await);
    let first = service.get("/users/1/orders?limit=1").await.ok();
    // The cursor of the last order of all: nothing is behind it.
    let last = service
        .get(&format!(
            "/users/1/orders?limit=1&cursor={}",
            first["next_cursor"].as_str().unwrap()
        ))
        .await
        .ok();
    assert_eq!(ids(&last), ["2"]);
    let cursor = data_encoding::BASE64URL_NOPAD.encode(br#"[null,"2"]"#);
    let beyond = service
        .get(&format!("/users/1/orders?cursor={cursor}"))
        .await
        .ok();
    assert_eq!(beyond["orders"], json!([]));
    assert_eq!(beyond["total_due"], "60000.00");
}

#[tokio::test]
async fn a_page_holds_a_hundred_orders_unless_told_otherwise_and_a_thousand_at_most() {
    let database = shop().await;
    database
        .execute("INSERT INTO shop.orders (id, user_id) SELECT n, 'u' FROM generate_series(1, 1001) n")
        .await;
    let service = Service::over(&database);
    assert_eq!(ids(&service.get("/users/u/orders").await.ok()).len(), 100);
    let page = service.get("/users/u/orders?limit=1000").await.ok();
    assert_eq!(ids(&page).len(), 1000);
    assert!(page["next_cursor"].is_string());
}

#[tokio::test]
async fn ids_are_any_text() {
    let database = shop().await;
    let service = Service::over(&database);
    for (id, encoded) in [
        ("a/b", "a%2Fb"),
        (" ", "%20"),
        ("Żółć", "%C5%BB%C3%B3%C5%82%C4%87"),
        ("';--", "'%3B--"),
        ("a%b", "a%25b"),
        ("?&=#<>\"", "%3F%26%3D%23%3C%3E%22"),
        ("..", "%2E%2E"),
        ("\u{1F600}", "%F0%9F%98%80"),
        ("{id}", "%7Bid%7D"),
    ] {
        let literal = id.replace('\'', "''");
        database
            .execute(format!(
                "INSERT INTO public.users (id, organization_id) VALUES ('{literal}', 'shop');
                 INSERT INTO shop.orders (id, user_id) SELECT '{literal} ' || n, '{literal}' FROM generate_series(1, 2) n"
            ))
            .await;
        let path = format!("/users/{encoded}/orders?limit=1");
        let answer = service.get(&path).await;
        let next = answer.next_page(&path).unwrap();
        assert_eq!(answer.ok()["user"]["id"], id);
        assert_eq!(
            service.get(&next).await.ok()["orders"][0]["id"],
            format!("{id} 2")
        );
    }
}

#[tokio::test]
async fn parameters_that_nobody_knows_are_ignored() {
    let service = Service::over(&TestDatabase::demo().await);
    let page = service
        .get("/users/1/orders?colour=red&limit=1&colour=blue&offset=-1")
        .await
        .ok();
    assert_eq!(ids(&page), ["1"]);
}

#[tokio::test]
async fn head_answers_as_get_does_without_a_body() {
    let service = Service::over(&TestDatabase::demo().await);
    let get = service.get("/users/1/orders?limit=1").await;
    let head = service.request(Method::HEAD, "/users/1/orders?limit=1").await;
    assert_eq!(head.status, 200);
    assert!(head.body.is_empty());
    for header in ["content-type", "link"] {
        assert_eq!(head.header(header), get.header(header));
    }
    assert_eq!(
        head.header("content-length"),
        Some(get.body.len().to_string().as_str())
    );
}
