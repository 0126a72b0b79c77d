//! Isolation: requests return the rows of their own tenant only, for any tenant name and any end of a request.

mod cancellation;
mod connections;

use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sqlx::{Connection, Executor};
use tenant_orders::config::PoolSettings;
use tenant_orders::tenancy::SchemaName;

use crate::support::fleet::{self, Lookup, Tenant};
use crate::support::{Answer, Service, TestDatabase, wait_until};

/// A timeout that no test reaches unless it fails.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Creates the tenants with hostile names.
async fn fleet_database() -> TestDatabase {
    TestDatabase::empty_with(fleet::statements(Lookup::Plain)).await
}

/// Asserts that a response contains all orders of `user` in `tenant`, and nothing else.
fn assert_is_page_of(answer: &Answer, tenant: Tenant, user: &str) {
    let mut page = answer.ok();
    let next_cursor = page.as_object_mut().unwrap().remove("next_cursor");
    assert_eq!(next_cursor, Some(serde_json::Value::Null));
    assert_eq!(page, tenant.page(user, 0, 100));
}

/// Waits until all backends are idle. A backend in an open transaction never is.
async fn assert_backends_become_idle(database: &TestDatabase) {
    let busy = "SELECT count(*)::text FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'";
    wait_until("all backends are idle", async || database.text(busy).await == "0").await;
}

#[tokio::test]
async fn tenants_of_any_name_see_their_own_rows() {
    let service = Service::over(&fleet_database().await);
    for _ in 0..2 {
        for tenant in fleet::tenants() {
            for user in tenant.users() {
                let answer = service.get(&format!("/users/{user}/orders")).await;
                assert_is_page_of(&answer, tenant, &user);
            }
        }
    }
}

#[tokio::test]
async fn user_of_an_invalid_tenant_gets_tenant_unavailable() {
    let service = Service::over(&fleet_database().await);
    for user in fleet::users_without_tenant() {
        let answer = service.get(&format!("/users/{user}/orders")).await;
        answer.problem(503, "tenant-unavailable");
    }
}

#[tokio::test]
async fn concurrent_requests_on_few_connections_see_their_own_rows() {
    let database = fleet_database().await;
    let settings = PoolSettings {
        database_max_connections: 3,
        acquire_timeout: TIMEOUT,
        statement_timeout: TIMEOUT,
        ..PoolSettings::default()
    };
    let service = Service::with(database.database_with(&settings), TIMEOUT, 1024);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..5 {
        for tenant in fleet::tenants() {
            for user in tenant.users() {
                let service = service.clone();
                requests.spawn(async move {
                    let answer = service.get(&format!("/users/{user}/orders")).await;
                    assert_is_page_of(&answer, tenant, &user);
                });
            }
        }
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
    assert_backends_become_idle(&database).await;
}

#[tokio::test]
async fn moved_user_is_served_from_the_new_tenant_at_once() {
    let database = TestDatabase::demo_with(
        "INSERT INTO client2.orders (id, user_id, item_id, quantity) VALUES ('moved', '1', '1', 1);
         CREATE SCHEMA gone; CREATE TABLE gone.items (LIKE client1.items); CREATE TABLE gone.orders (LIKE client1.orders);",
    ).await;
    let service = Service::over(&database);
    let organization_and_total = async |path: &str| {
        let page = service.get(path).await.ok();
        let organization = page["user"]["organization_id"].as_str().unwrap().to_owned();
        (organization, page["total_due"].as_str().unwrap().to_owned())
    };
    let move_to = async |organization: &str| {
        database
            .execute(format!(
                "UPDATE public.users SET organization_id = '{organization}' WHERE id = '1'"
            ))
            .await;
    };
    for path in ["/users/1/orders", "/users/1/orders?cursor=W251bGwsIiJd"] {
        for (organization, total_due) in [("client1", "60000.00"), ("client2", "1000.00"), ("gone", "0.00")] {
            move_to(organization).await;
            for _ in 0..2 {
                assert_eq!(
                    organization_and_total(path).await,
                    (organization.to_owned(), total_due.to_owned())
                );
            }
        }
    }
    // The tenant in the cache no longer exists.
    database.execute("DROP SCHEMA gone CASCADE").await;
    service
        .get("/users/1/orders")
        .await
        .problem(503, "tenant-unavailable");
    move_to("client1").await;
    assert_eq!(organization_and_total("/users/1/orders").await.1, "60000.00");
    move_to("public").await;
    service
        .get("/users/1/orders")
        .await
        .problem(503, "tenant-unavailable");
    database
        .execute(
            "DELETE FROM client1.orders; DELETE FROM client2.orders; DELETE FROM public.users WHERE id = '1'",
        )
        .await;
    service
        .get("/users/1/orders")
        .await
        .problem(404, "user-not-found");
}

#[tokio::test]
async fn operators_and_functions_of_a_tenant_are_not_used() {
    let database = TestDatabase::demo_with(
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
async fn schema_name_is_used_unchanged_or_refused() {
    let database = TestDatabase::empty().await;
    let mut connection = database.connect().await;
    // The `proptest!` macro does not support async tests.
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
