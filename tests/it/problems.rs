//! Everything that can go wrong, and the row of the error table that answers it.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use tenant_orders::config::{DatabaseUrl, PoolSettings};
use tenant_orders::users::UserDirectory;

use crate::support::{Answer, Service, TestDatabase};

/// What no client may ever read.
fn assert_tells_nothing_inner(answer: &Answer) {
    let text = answer.text().to_lowercase();
    for inner in [
        "select",
        "sqlx",
        "relation",
        "search_path",
        "postgres",
        "42p01",
        "panicked",
        "src/",
    ] {
        assert!(!text.contains(inner), "{inner}: {text}");
    }
}

#[tokio::test]
async fn a_user_that_does_not_exist_is_not_found() {
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
        assert_tells_nothing_inner(&answer);
    }
}

#[tokio::test]
async fn an_id_that_the_databases_encoding_lacks_is_not_found() {
    let database = TestDatabase::latin1().await;
    database
        .execute("CREATE TABLE public.users (id varchar, name varchar, organization_id varchar)")
        .await;
    let service = Service::over(&database);
    service
        .get("/users/%C4%80/orders")
        .await
        .problem(404, "user-not-found");
}

#[tokio::test]
async fn a_cursor_that_the_databases_encoding_lacks_is_refused() {
    let database = TestDatabase::latin1().await;
    database
        .execute(
            "CREATE TABLE public.users (id varchar, name varchar, organization_id varchar);
             CREATE SCHEMA shop; INSERT INTO public.users VALUES ('u', NULL, 'shop');
             CREATE TABLE shop.items (id varchar, description varchar, price numeric);
             CREATE TABLE shop.orders (id varchar, creation_timestamp timestamp, quantity int, user_id varchar, item_id varchar);",
        )
        .await;
    let service = Service::over(&database);
    assert_eq!(service.get("/users/u/orders").await.ok()["total_due"], "0.00");
    let cursor = data_encoding::BASE64URL_NOPAD.encode("[null,\"\u{100}\"]".as_bytes());
    let answer = service.get(&format!("/users/u/orders?cursor={cursor}")).await;
    answer.problem(400, "bad-request");
}

#[tokio::test]
async fn a_change_of_the_shared_tables_types_is_not_noticed() {
    let database = TestDatabase::demo().await;
    let service = Service::over(&database);
    for path in ["/readyz", "/users/1/orders"] {
        assert_eq!(service.get(path).await.status, 200);
    }
    database
        .execute("ALTER TABLE public.users ALTER name TYPE text, ALTER organization_id TYPE text")
        .await;
    for path in ["/readyz", "/users/1/orders"] {
        assert_eq!(service.get(path).await.status, 200);
    }
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_refused() {
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
        assert_tells_nothing_inner(&answer);
    }
    service.get("/users/%FF/orders").await.problem(400, "bad-request");
}

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let service = Service::over(&TestDatabase::demo().await);
    for path in [
        "/nothing",
        "/users",
        "/users/1",
        "/users/1/orders/",
        "/users/1/orders/1",
        "//",
        "/livez/",
    ] {
        assert_eq!(
            service.get(path).await.problem(404, "not-found")["instance"],
            path
        );
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_answer_is_told_those_it_does() {
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
}

#[tokio::test]
async fn a_request_id_is_taken_where_it_is_sane_and_made_where_not() {
    let service = Service::over(&TestDatabase::demo().await);
    let with_id = |id: &str| {
        Request::get("/users/3/orders")
            .header("x-request-id", id)
            .body(Body::empty())
            .unwrap()
    };
    for sane in [
        "abc",
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "a:b_c.d",
        &"x".repeat(128),
    ] {
        let answer = service.send(with_id(sane)).await;
        assert_eq!(answer.header("x-request-id"), Some(sane));
        answer.problem(404, "user-not-found");
    }
    for insane in ["", " ", "a b", "a\"b", "{}", &"x".repeat(129)] {
        let answer = service.send(with_id(insane)).await;
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

#[tokio::test]
async fn a_tenant_that_is_missing_or_half_built_or_no_tenant_is_unavailable() {
    let database = TestDatabase::demo().await;
    database
        .execute(
            "CREATE SCHEMA empty;
             CREATE SCHEMA no_orders; CREATE TABLE no_orders.items (LIKE client1.items);
             CREATE SCHEMA no_items; CREATE TABLE no_items.orders (LIKE client1.orders);
             CREATE SCHEMA no_price; CREATE TABLE no_price.orders (LIKE client1.orders);
             CREATE TABLE no_price.items (id varchar, description varchar);
             CREATE SCHEMA unfilled; CREATE TABLE unfilled.orders (LIKE client1.orders);
             CREATE MATERIALIZED VIEW unfilled.items AS SELECT * FROM client1.items WITH NO DATA;
             -- Traps: what a search path that held more than the tenant would find.
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
        assert_tells_nothing_inner(&answer);
    }
    database
        .execute("INSERT INTO public.users (id) VALUES ('nobodys')")
        .await;
    service
        .get("/users/nobodys/orders")
        .await
        .problem(503, "tenant-unavailable");
    // Nobody else was hurt.
    assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60000.00");
}

#[tokio::test]
async fn a_tenant_that_our_role_may_not_read_is_unavailable() {
    let database = TestDatabase::demo().await;
    database
        .execute(
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
async fn data_that_cannot_be_told_exactly_is_invalid() {
    let database = TestDatabase::demo().await;
    let service = Service::over(&database);
    for (change, undo) in [
        (
            "UPDATE client1.items SET price = 'NaN' WHERE id = '2'",
            "UPDATE client1.items SET price = 2000 WHERE id = '2'",
        ),
        (
            "UPDATE client1.items SET price = 'Infinity' WHERE id = '2'",
            "UPDATE client1.items SET price = 2000 WHERE id = '2'",
        ),
        (
            "UPDATE client1.items SET price = '-Infinity' WHERE id = '2'",
            "UPDATE client1.items SET price = 2000 WHERE id = '2'",
        ),
        (
            "UPDATE client1.items SET price = 1e30 WHERE id = '2'",
            "UPDATE client1.items SET price = 2000 WHERE id = '2'",
        ),
        (
            "UPDATE client1.items SET price = 1e-29 WHERE id = '2'",
            "UPDATE client1.items SET price = 2000 WHERE id = '2'",
        ),
        // Each fits, their product does not.
        (
            "UPDATE client1.items SET price = 7e28 WHERE id = '2'",
            "UPDATE client1.items SET price = 2000 WHERE id = '2'",
        ),
        (
            "UPDATE client1.orders SET creation_timestamp = 'infinity' WHERE id = '2'",
            "UPDATE client1.orders SET creation_timestamp = NULL",
        ),
        (
            "UPDATE client1.orders SET creation_timestamp = '-infinity' WHERE id = '2'",
            "UPDATE client1.orders SET creation_timestamp = NULL",
        ),
        (
            "UPDATE client1.orders SET creation_timestamp = '0044-03-15 BC' WHERE id = '2'",
            "UPDATE client1.orders SET creation_timestamp = NULL",
        ),
        (
            "UPDATE client1.orders SET creation_timestamp = '10000-01-01' WHERE id = '2'",
            "UPDATE client1.orders SET creation_timestamp = NULL",
        ),
        (
            "ALTER TABLE client1.items ALTER price TYPE text; UPDATE client1.items SET price = 'ask us' WHERE id = '2'",
            "UPDATE client1.items SET price = '2000' WHERE id = '2'",
        ),
    ] {
        database.execute(change).await;
        let answer = service.get("/users/1/orders").await;
        answer.problem(500, "tenant-data-invalid");
        assert_tells_nothing_inner(&answer);
        // Nobody else is hurt.
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
async fn an_invalid_price_beyond_the_page_spoils_the_total() {
    let database = TestDatabase::demo().await;
    let service = Service::over(&database);
    for price in ["'NaN'", "'Infinity'", "1e30", "1e-29"] {
        database
            .execute(format!("UPDATE client1.items SET price = {price} WHERE id = '2'"))
            .await;
        service
            .get("/users/1/orders?limit=1")
            .await
            .problem(500, "tenant-data-invalid");
    }
}

#[tokio::test]
async fn a_database_that_is_down_is_unavailable_and_retried_later() {
    let settings = PoolSettings {
        acquire_timeout: Duration::from_millis(200),
        ..PoolSettings::default()
    };
    for url in [
        "postgres://nobody@127.0.0.1:1/nothing",
        "postgres:///nothing?host=/nonexistent",
    ] {
        let service =
            Service::new(UserDirectory::open(&DatabaseUrl::from(url.to_owned()), &settings).unwrap());
        for path in ["/users/1/orders", "/readyz"] {
            let answer = service.get(path).await;
            answer.problem(503, "database-unavailable");
            assert_tells_nothing_inner(&answer);
        }
        assert_eq!(service.get("/livez").await.status, 200);
    }
}

#[tokio::test]
async fn a_database_without_the_shared_table_is_not_ready() {
    let service = Service::over(&TestDatabase::empty().await);
    for path in ["/users/1/orders", "/readyz"] {
        service.get(path).await.problem(503, "database-unavailable");
    }
}

#[tokio::test]
async fn a_database_that_is_there_is_ready() {
    let service = Service::over(&TestDatabase::demo().await);
    for path in ["/livez", "/readyz"] {
        assert_eq!(service.get(path).await.status, 200);
        assert_eq!(service.request(Method::HEAD, path).await.status, 200);
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_a_timeout() {
    let database = TestDatabase::demo().await;
    let settings = PoolSettings {
        statement_timeout: Duration::from_millis(100),
        ..PoolSettings::default()
    };
    let service = Service::new(database.database_with(&settings));
    assert_statements_end_in_time(&service, &database).await;
}

/// Behind a lock a statement is ended by its time limit, and then all is well again.
pub(crate) async fn assert_statements_end_in_time(service: &Service, database: &TestDatabase) {
    for table in ["client1.items", "public.users"] {
        let lock = database.lock(table).await;
        service.get("/users/1/orders").await.problem(504, "timeout");
        lock.release().await;
        assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60000.00");
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_a_timeout() {
    let database = TestDatabase::demo().await;
    let service = Service::with(database.database(), Duration::from_millis(100), 1024);
    let _lock = database.lock("client1.items").await;
    service.get("/users/1/orders").await.problem(504, "timeout");
    assert_eq!(service.get("/users/2/orders").await.ok()["total_due"], "10500.00");
}

#[tokio::test]
async fn an_exhausted_pool_is_unavailable() {
    let database = TestDatabase::demo().await;
    let settings = PoolSettings {
        database_max_connections: 1,
        acquire_timeout: Duration::from_secs(1),
        ..PoolSettings::default()
    };
    let service = Service::new(database.database_with(&settings));
    let lock = database.lock("client1.items").await;
    let waiting = tokio::spawn({
        let service = service.clone();
        async move { service.get("/users/1/orders").await }
    });
    database.service_is_blocked().await;
    service
        .get("/users/2/orders")
        .await
        .problem(503, "database-unavailable");
    lock.release().await;
    waiting.await.unwrap().ok();
    service.get("/users/2/orders").await.ok();
}

#[tokio::test]
async fn more_requests_than_the_limit_are_refused_at_once() {
    let database = TestDatabase::demo().await;
    let service = Service::with(database.database(), Duration::from_secs(10), 1);
    let lock = database.lock("client1.items").await;
    let waiting = tokio::spawn({
        let service = service.clone();
        async move { service.get("/users/1/orders").await }
    });
    database.service_is_blocked().await;
    service.get("/users/2/orders").await.problem(503, "overloaded");
    for exempt in ["/livez", "/readyz"] {
        assert_eq!(service.get(exempt).await.status, 200);
    }
    lock.release().await;
    waiting.await.unwrap().ok();
    service.get("/users/2/orders").await.ok();
}
