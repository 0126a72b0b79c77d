//! No row crosses, whatever the tenant is called and however a request ends.

use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sqlx::{Connection, Executor};
use tenant_orders::config::PoolSettings;
use tenant_orders::tenancy::SchemaName;

use crate::support::{Service, TestDatabase};

/// Names that any identifier may have, most of them made to break out of something.
const HOSTILE_NAMES: [&str; 24] = [
    "Upper",
    "upper",
    "with-hyphen",
    "with.dot",
    "with space",
    "single'quote",
    "double\"quote",
    "semi;colon",
    "--comment",
    "/*open",
    "close*/",
    "*/ SELECT 1; /*",
    "$$dollar$$",
    "back\\slash",
    "Żółć",
    "名前",
    "select",
    "client1, public",
    "\"client1\"",
    "a\nb",
    "%s%d{}",
    "u&\"x\"",
    "\u{1F600}",
    "PUBLIC",
];

async fn hostile_database() -> TestDatabase {
    let database = TestDatabase::demo().await;
    let mut statements = vec![String::from(
        "CREATE TABLE public.items (LIKE client1.items); CREATE TABLE public.orders (LIKE client1.orders);",
    )];
    for (number, name) in HOSTILE_NAMES.iter().enumerate() {
        let schema = SchemaName::parse(name).unwrap();
        let (quoted, literal) = (schema.quoted(), name.replace('\'', "''"));
        statements.push(format!(
            "CREATE SCHEMA {quoted};
             CREATE TABLE {quoted}.items (LIKE client1.items); CREATE TABLE {quoted}.orders (LIKE client1.orders);
             INSERT INTO public.users (id, organization_id) VALUES ('h{number}', '{literal}');
             INSERT INTO {quoted}.items (id, description, price) VALUES ('1', '{literal}', {number} + 1);
             INSERT INTO {quoted}.orders (id, user_id, item_id, quantity)
             SELECT '1' || u, 'h' || u, '1', 1 FROM generate_series(0, 23) u;",
        ));
    }
    database.execute(statements.concat()).await;
    database
}

#[tokio::test]
async fn tenants_of_any_name_see_their_own_rows() {
    let database = hostile_database().await;
    let service = Service::over(&database);
    for _ in 0..2 {
        for (number, name) in HOSTILE_NAMES.iter().enumerate() {
            let page = service.get(&format!("/users/h{number}/orders")).await.ok();
            assert_eq!(page["user"]["organization_id"], *name);
            assert_eq!(page["orders"].as_array().unwrap().len(), 1);
            assert_eq!(page["orders"][0]["item"]["description"], *name);
            assert_eq!(page["total_due"], format!("{}.00", number + 1));
        }
    }
}

#[tokio::test]
async fn requests_at_once_over_few_connections_see_their_own_rows() {
    let database = hostile_database().await;
    let settings = PoolSettings {
        database_max_connections: 3,
        ..PoolSettings::default()
    };
    let service = Service::new(database.database_with(&settings));
    let mut requests = tokio::task::JoinSet::new();
    for round in 0..20 {
        for (number, name) in HOSTILE_NAMES.iter().enumerate() {
            let service = service.clone();
            requests.spawn(async move {
                let page = service
                    .get(&format!("/users/h{number}/orders?limit={}", round + 1))
                    .await
                    .ok();
                assert_eq!(page["orders"][0]["item"]["description"], *name);
            });
        }
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
    assert_nothing_is_left_behind(&database).await;
}

#[tokio::test]
async fn a_request_that_is_cut_off_leaves_nothing_behind() {
    let database = hostile_database().await;
    let settings = PoolSettings {
        database_max_connections: 2,
        ..PoolSettings::default()
    };
    let pool = database.database_with(&settings);
    let lock = database.lock("client1.orders").await;
    let impatient = Service::with(pool.clone(), Duration::from_millis(50), 1024);
    for _ in 0..5 {
        impatient.get("/users/1/orders").await.problem(504, "timeout");
    }
    // A client who hangs up does not cut the work off: it ends by itself.
    let service = Service::new(pool);
    let hung_up = tokio::time::timeout(Duration::from_millis(50), service.get("/users/1/orders")).await;
    assert!(hung_up.is_err());
    lock.release().await;
    for (number, name) in HOSTILE_NAMES.iter().enumerate() {
        let page = service.get(&format!("/users/h{number}/orders")).await.ok();
        assert_eq!(page["orders"][0]["item"]["description"], *name);
    }
    assert_nothing_is_left_behind(&database).await;
}

/// The service's backends, of which there is one where the pool has one connection.
const BACKENDS: &str = "SELECT COALESCE(string_agg(pid::text, ' '), '') FROM pg_stat_activity
                        WHERE datname = current_database() AND application_name = 'tenant-orders'";

fn with_one_connection(database: &TestDatabase) -> Service {
    Service::new(database.database_with(&PoolSettings {
        database_max_connections: 1,
        ..PoolSettings::default()
    }))
}

#[tokio::test]
async fn work_that_ended_well_gives_its_connection_back() {
    let database = TestDatabase::demo().await;
    let service = with_one_connection(&database);
    service.get("/users/1/orders").await.ok();
    let before = database.text(BACKENDS).await;
    for _ in 0..10 {
        service.get("/users/1/orders").await.ok();
        service.get("/users/2/orders?limit=1").await.ok();
        service
            .get("/users/none/orders")
            .await
            .problem(404, "user-not-found");
    }
    assert_eq!(database.text(BACKENDS).await, before);
}

#[tokio::test]
async fn a_client_who_hangs_up_costs_no_connection() {
    let database = TestDatabase::demo().await;
    let service = with_one_connection(&database);
    service.get("/users/1/orders").await.ok();
    let before = database.text(BACKENDS).await;
    let lock = database.lock("client1.items").await;
    let client = tokio::spawn({
        let service = service.clone();
        async move { service.get("/users/1/orders").await }
    });
    database.service_is_blocked().await;
    client.abort();
    assert!(client.await.is_err());
    lock.release().await;
    service.get("/users/2/orders").await.ok();
    assert_eq!(database.text(BACKENDS).await, before);
}

#[tokio::test]
async fn an_error_in_a_tenants_scope_closes_its_connection() {
    let database = TestDatabase::demo().await;
    database
        .execute("INSERT INTO public.users (id, organization_id) VALUES ('x', 'missing')")
        .await;
    let service = with_one_connection(&database);
    service.get("/users/1/orders").await.ok();
    let before = database.text(BACKENDS).await;
    service
        .get("/users/x/orders")
        .await
        .problem(503, "tenant-unavailable");
    service.get("/users/1/orders").await.ok();
    assert_ne!(database.text(BACKENDS).await, before);
}

/// What a tenant defines in its own schema changes nothing about what our statements mean.
#[tokio::test]
async fn a_tenants_own_operators_and_functions_are_not_used() {
    let database = TestDatabase::demo().await;
    database
        .execute(
            "CREATE FUNCTION client1.yes(varchar, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
             CREATE FUNCTION client1.yes(varchar, varchar) RETURNS boolean LANGUAGE sql AS 'SELECT true';
             CREATE FUNCTION client1.much(numeric, bigint) RETURNS numeric LANGUAGE sql AS 'SELECT 666::numeric';
             CREATE OPERATOR client1.= (LEFTARG = varchar, RIGHTARG = text, FUNCTION = client1.yes);
             CREATE OPERATOR client1.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = client1.yes);
             CREATE OPERATOR client1.> (LEFTARG = varchar, RIGHTARG = text, FUNCTION = client1.yes);
             CREATE OPERATOR client1.* (LEFTARG = numeric, RIGHTARG = bigint, FUNCTION = client1.much);
             CREATE FUNCTION client1.sum(numeric) RETURNS numeric LANGUAGE sql AS 'SELECT 666::numeric';
             INSERT INTO public.users (id, organization_id) VALUES ('x', 'client1');
             INSERT INTO client1.orders (id, user_id, item_id, quantity) VALUES ('9', 'x', '1', 1);",
        )
        .await;
    let service = Service::over(&database);
    for path in ["/users/x/orders", "/users/x/orders?cursor=W251bGwsIjEiXQ"] {
        let page = service.get(path).await.ok();
        assert_eq!(page["orders"].as_array().unwrap().len(), 1);
        assert_eq!(page["orders"][0]["id"], "9");
        assert_eq!(page["total_due"], "5000.00");
    }
}

#[tokio::test]
async fn there_are_never_more_connections_than_the_pool_may_have() {
    let database = TestDatabase::demo().await;
    let settings = PoolSettings {
        database_max_connections: 2,
        acquire_timeout: Duration::from_millis(50),
        statement_timeout: Duration::from_secs(2),
        ..PoolSettings::default()
    };
    let impatient = Service::with(
        database.database_with(&settings),
        Duration::from_millis(100),
        1024,
    );
    let lock = database.lock("client1.items").await;
    for _ in 0..8 {
        let answer = impatient.get("/users/1/orders").await;
        assert!([503, 504].contains(&answer.status.as_u16()));
        let backends = database.text(BACKENDS).await;
        assert!(backends.split(' ').count() <= 2, "{backends}");
    }
    lock.release().await;
}

/// Waits for what happens behind the answers, and looks for what must not stay.
async fn assert_nothing_is_left_behind(database: &TestDatabase) {
    let busy = "SELECT count(*)::text FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'";
    for _ in 0..200 {
        if database.text(busy).await == "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a connection is still in a transaction");
}

#[tokio::test]
async fn any_text_is_a_name_that_postgresql_takes_as_it_is_or_is_refused() {
    let database = TestDatabase::empty().await;
    let mut connection = database.connect().await;
    // By hand, since proptest's own runner is not asynchronous.
    let mut runner = TestRunner::default();
    let names = prop_oneof![
        any::<String>(),
        "[\"'\\\\;$/*. A-Za-z-]{0,70}",
        "pg_[a-z]{0,5}",
        "[é\u{1F600}]{10,25}"
    ];
    for _ in 0..256 {
        let name = names.new_tree(&mut runner).unwrap().current();
        let Ok(schema) = SchemaName::parse(&name) else {
            continue;
        };
        let mut transaction = connection.begin().await.unwrap();
        let create = format!("CREATE SCHEMA {}", schema.quoted());
        transaction.execute(sqlx::AssertSqlSafe(create)).await.unwrap();
        let path = format!("SET LOCAL search_path TO {}, pg_temp", schema.quoted());
        transaction.execute(sqlx::AssertSqlSafe(path)).await.unwrap();
        let current: String = sqlx::query_scalar("SELECT current_schema()::text")
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
        assert_eq!(current, name);
        transaction.rollback().await.unwrap();
    }
}
