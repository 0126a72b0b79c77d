//! Problems that the client causes.

use axum::body::Body;
use axum::http::{Method, Request};
use insta::assert_json_snapshot;

use super::assert_reveals_no_internals;
use crate::support::{Service, TestDatabase, snapshot};

#[tokio::test]
async fn unknown_user_is_not_found() {
    let service = Service::over(&TestDatabase::demo().await);
    let long = "x".repeat(8000);
    for id in [
        "3",
        "%00",
        "1%00",
        "%2F",
        "%F0%9F%98%80",
        "'%20OR%201=1--",
        "1%20",
        long.as_str(),
    ] {
        let answer = service.get(&format!("/users/{id}/orders")).await;
        let body = answer.problem(404, "user-not-found");
        assert_eq!(body["instance"], format!("/users/{id}/orders"));
        assert_reveals_no_internals(&answer);
    }
    assert_json_snapshot!(snapshot(&service.get("/users/3/orders").await), @r#"
    {
      "body": {
        "detail": "There is no user with this id.",
        "instance": "/users/3/orders",
        "request_id": "[request id]",
        "status": 404,
        "title": "User not found",
        "type": "/problems/user-not-found"
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
      "status": 404
    }
    "#);
}

#[tokio::test]
async fn id_outside_the_database_encoding_is_not_found() {
    let database = TestDatabase::latin1_with(
        "CREATE TABLE public.users (id varchar, name varchar, organization_id varchar)",
    )
    .await;
    let service = Service::over(&database);
    service
        .get("/users/%C4%80/orders")
        .await
        .problem(404, "user-not-found");
}

#[tokio::test]
async fn cursor_outside_the_database_encoding_is_refused() {
    let database = TestDatabase::latin1_with(
        "CREATE TABLE public.users (id varchar, name varchar, organization_id varchar);
         CREATE SCHEMA shop; INSERT INTO public.users VALUES ('u', NULL, 'shop');
         CREATE TABLE shop.items (id varchar, description varchar, price numeric);
         CREATE TABLE shop.orders (id varchar, creation_timestamp timestamp, quantity int, user_id varchar, item_id varchar);",
    ).await;
    let service = Service::over(&database);
    assert_eq!(service.get("/users/u/orders").await.ok()["total_due"], "0.00");
    let cursor = data_encoding::BASE64URL_NOPAD.encode("[null,\"\u{100}\"]".as_bytes());
    let answer = service.get(&format!("/users/u/orders?cursor={cursor}")).await;
    answer.problem(400, "bad-request");
}

#[tokio::test]
async fn malformed_parameters_are_refused() {
    let service = Service::over(&TestDatabase::demo().await);
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=%2B1",
        "limit=",
        "limit=ten",
        "limit=1.0",
        "limit=65537",
        "limit=99999999999999999999",
        "limit=1&limit=1",
        "cursor=",
        "cursor=nonsense",
        "cursor=W251bGwsIjE",
        "cursor=W251bGwsIjEiXQ&cursor=W251bGwsIjEiXQ",
        "cursor=W251bGwsIjEiXQ==",
        "cursor=%00",
        "limit=%FF",
    ] {
        let answer = service.get(&format!("/users/1/orders?{query}")).await;
        answer.problem(400, "bad-request");
        assert_reveals_no_internals(&answer);
    }
    service.get("/users/%FF/orders").await.problem(400, "bad-request");
    assert_json_snapshot!(snapshot(&service.get("/users/1/orders?limit=0").await), @r#"
    {
      "body": {
        "detail": "The parameter limit must be an integer from 1 to 1000.",
        "instance": "/users/1/orders",
        "request_id": "[request id]",
        "status": 400,
        "title": "Bad request",
        "type": "/problems/bad-request"
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
      "status": 400
    }
    "#);
}

#[tokio::test]
async fn unknown_path_is_not_found() {
    let service = Service::over(&TestDatabase::demo().await);
    for path in [
        "/nothing",
        "/users",
        "/users/1",
        "/users/1/orders/",
        "/users/1/orders/1/items",
        "//",
        "/livez/",
    ] {
        assert_eq!(
            service.get(path).await.problem(404, "not-found")["instance"],
            path
        );
    }
    assert_json_snapshot!(snapshot(&service.get("/nothing").await), @r#"
    {
      "body": {
        "detail": "There is no resource at this path.",
        "instance": "/nothing",
        "request_id": "[request id]",
        "status": 404,
        "title": "Not found",
        "type": "/problems/not-found"
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
      "status": 404
    }
    "#);
}

#[tokio::test]
async fn unsupported_method_lists_the_supported_ones() {
    let service = Service::over(&TestDatabase::demo().await);
    for path in ["/users/1/orders", "/livez", "/readyz"] {
        for method in [
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::PATCH,
            Method::OPTIONS,
            Method::TRACE,
        ] {
            let answer = service.request(method, path).await;
            answer.problem(405, "method-not-allowed");
            assert_eq!(answer.header("allow"), Some("GET,HEAD"));
        }
    }
    assert_json_snapshot!(snapshot(&service.request(Method::POST, "/livez").await), @r#"
    {
      "body": {
        "detail": "This path does not support the method. The Allow header lists the supported methods.",
        "instance": "/livez",
        "request_id": "[request id]",
        "status": 405,
        "title": "Method not allowed",
        "type": "/problems/method-not-allowed"
      },
      "headers": {
        "allow": "GET,HEAD",
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "content-type": "application/problem+json",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "x-request-id": "[request id]"
      },
      "status": 405
    }
    "#);
}

#[tokio::test]
async fn invalid_request_id_is_replaced() {
    let service = Service::over(&TestDatabase::demo().await);
    let with_id = |id: &str| {
        Request::get("/users/3/orders")
            .header("x-request-id", id)
            .body(Body::empty())
            .unwrap()
    };
    for valid in [
        "abc",
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "a:b_c.d",
        &"x".repeat(128),
    ] {
        let answer = service.send(with_id(valid)).await;
        assert_eq!(answer.header("x-request-id"), Some(valid));
        answer.problem(404, "user-not-found");
    }
    for invalid in ["", " ", "a b", "a\"b", "{}", &"x".repeat(129)] {
        let answer = service.send(with_id(invalid)).await;
        assert_eq!(answer.header("x-request-id").unwrap().len(), 36);
        answer.problem(404, "user-not-found");
    }
    let twice = Request::get("/livez")
        .header("x-request-id", "a")
        .header("x-request-id", "b");
    let answer = service.send(twice.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.headers.get_all("x-request-id").iter().count(), 1);
    assert_eq!(answer.header("x-request-id").unwrap().len(), 36);
}
