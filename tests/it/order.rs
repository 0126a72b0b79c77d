//! `GET /users/{id}/orders/{order_id}`.

use insta::assert_json_snapshot;

use crate::support::{Service, TestDatabase};

#[tokio::test]
async fn order_has_the_price_of_the_users_tenant() {
    let service = Service::over(&TestDatabase::demo().await);
    assert_json_snapshot!(service.get("/users/1/orders/2").await.ok(), @r#"
        {
          "created_at": null,
          "id": "2",
          "item": {
            "description": "Huawei",
            "id": "2"
          },
          "line_total": "10000.00",
          "quantity": 5,
          "unit_price": "2000.00"
        }
        "#);
    let of_client2 = service.get("/users/2/orders/2").await.ok();
    assert_eq!(of_client2["line_total"], "500.00");
}

#[tokio::test]
async fn missing_orders_and_users_are_not_found() {
    let database = TestDatabase::demo_with(
        "INSERT INTO public.users (id, organization_id) VALUES ('3', 'client1');
         INSERT INTO client1.orders (id, quantity, user_id, item_id) VALUES ('other', 1, '3', '1')",
    )
    .await;
    let service = Service::over(&database);
    for id in ["nothing", "other", "%00", "%F0%9F%98%80", "'", "2%00"] {
        let answer = service.get(&format!("/users/1/orders/{id}")).await;
        answer.problem(404, "order-not-found");
    }
    service.get("/users/3/orders/other").await.ok();
    for path in [
        "/users/nobody/orders/1",
        "/users/%00/orders/1",
        "/users/nobody/orders/%00",
    ] {
        service.get(path).await.problem(404, "user-not-found");
    }
    service
        .get("/users/1/orders/%FF")
        .await
        .problem(400, "bad-request");
}

#[tokio::test]
async fn ids_that_the_encoding_lacks_are_not_found() {
    let database = TestDatabase::latin1_with(
        "CREATE TABLE public.users (id varchar PRIMARY KEY, name varchar, organization_id varchar);
         INSERT INTO public.users VALUES ('é', 'é', 'é'); CREATE SCHEMA \"é\";
         CREATE TABLE \"é\".items (id varchar PRIMARY KEY, description varchar, price numeric);
         CREATE TABLE \"é\".orders (id varchar PRIMARY KEY, creation_timestamp timestamp, quantity integer,
             user_id varchar, item_id varchar);
         INSERT INTO \"é\".orders VALUES ('ü', NULL, 1, 'é', NULL)",
    )
    .await;
    let service = Service::over(&database);
    assert_eq!(service.get("/users/é/orders/ü").await.ok()["id"], "ü");
    service
        .get("/users/é/orders/Ω")
        .await
        .problem(404, "order-not-found");
    service
        .get("/users/Ω/orders/ü")
        .await
        .problem(404, "user-not-found");
}

#[tokio::test]
async fn duplicate_orders_are_invalid_data() {
    let database = TestDatabase::existing_with(
        "CREATE TABLE client1.more_items () INHERITS (client1.items);
              INSERT INTO client1.more_items (id, price) VALUES ('1', 1)",
    )
    .await;
    let service = Service::over(&database);
    for path in ["/users/1/orders/1", "/users/1/orders", "/users/1/orders?limit=1"] {
        service.get(path).await.problem(500, "tenant-data-invalid");
    }
    service.get("/users/1/orders/2").await.ok();
}
