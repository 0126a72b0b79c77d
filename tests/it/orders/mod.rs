//! `GET /users/{id}/orders`: amounts, missing values, ids, parameters. Pages are in `pages`.

mod pages;

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Service, TestDatabase};

/// A user `u` of a tenant `shop`, whose tables are as tenant migrations leave them.
async fn shop() -> TestDatabase {
    TestDatabase::demo_with(
        "CREATE SCHEMA shop;
         CREATE TABLE shop.items (LIKE client1.items INCLUDING ALL);
         CREATE TABLE shop.orders (LIKE client1.orders INCLUDING ALL);
         INSERT INTO public.users (id, name, organization_id) VALUES ('u', 'shopper', 'shop');",
    )
    .await
}

fn ids(page: &Value) -> Vec<String> {
    let orders = page["orders"].as_array().unwrap();
    orders
        .iter()
        .map(|order| order["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn demo_users_see_the_prices_of_their_own_tenants() {
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
async fn user_without_orders_and_name_owes_nothing() {
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
async fn money_is_exact_for_every_type_of_the_column() {
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
        let amounts: Vec<_> = page["orders"]
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
            amounts,
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
        // PostgreSQL computes the total of a page, the service that of a complete list.
        assert_eq!(
            service.get("/users/u/orders?limit=1").await.ok()["total_due"],
            page["total_due"]
        );
    }
}

#[tokio::test]
async fn order_without_price_or_quantity_adds_nothing() {
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
async fn order_without_its_item_is_returned() {
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
async fn only_the_users_own_orders_are_returned() {
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
async fn ids_may_be_any_text() {
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
async fn unknown_parameters_are_ignored() {
    let service = Service::over(&TestDatabase::demo().await);
    let page = service
        .get("/users/1/orders?colour=red&limit=1&colour=blue&offset=-1")
        .await
        .ok();
    assert_eq!(ids(&page), ["1"]);
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
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
