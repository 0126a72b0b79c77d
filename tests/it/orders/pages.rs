//! Pages of orders: their order, their cursors and the total.

use serde_json::{Value, json};

use super::{ids, shop};
use crate::support::{Service, TestDatabase};

#[tokio::test]
async fn total_is_exact_on_pages_of_any_size() {
    let database = shop().await;
    // Partial sums have more digits than the total.
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
async fn newest_orders_come_first_and_those_without_a_time_last() {
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
async fn pages_of_any_size_contain_every_order_once() {
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
async fn cursor_is_stable_under_inserts_and_deletes() {
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
    // A newer order is added, and the order that the cursor names is deleted.
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
async fn empty_page_has_the_total() {
    let service = Service::over(&TestDatabase::demo().await);
    let first = service.get("/users/1/orders?limit=1").await.ok();
    // The second page ends with the last order. The cursor below names this order.
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
async fn page_has_100_orders_by_default_and_1000_at_most() {
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
