//! A connection pooler between service and PostgreSQL: served if it is configured, refused otherwise.

use std::time::Duration;

use nix::sys::signal::Signal;
use sqlx::{Connection, Executor, PgConnection};
use tenant_orders::config::{DatabaseUrl, PoolSettings, Pooler};
use tenant_orders::users::UserDirectory;

use crate::support::{
    PgBouncer, Service, ServiceProcess, TestDatabase, assert_statements_time_out, client, finished,
};

/// PgBouncer configuration that accepts the startup parameters of a direct connection.
const ACCEPT_STARTUP_PARAMETERS: &str = "ignore_startup_parameters = extra_float_digits, options";

fn service_behind(url: String, max_connections: u32) -> Service {
    let settings = PoolSettings {
        database_pooler: Pooler::Transaction,
        database_max_connections: max_connections,
        ..PoolSettings::default()
    };
    Service::new(UserDirectory::open(&DatabaseUrl::from(url), &settings).unwrap())
}

#[tokio::test]
async fn requests_through_a_transaction_pooler_see_their_own_rows() {
    let database = TestDatabase::demo().await;
    let Some(pooler) = PgBouncer::start("transaction", "") else {
        return;
    };
    let service = service_behind(pooler.url(database.name()), 8);
    assert_eq!(service.get("/readyz").await.status, 200);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..50 {
        for (user, total_due) in [("1", "60000.00"), ("2", "10500.00")] {
            let service = service.clone();
            requests.spawn(async move {
                let path = format!("/users/{user}/orders?limit=1");
                let page = service.get(&path).await.ok();
                assert_eq!(page["total_due"], total_due);
                let next = page["next_cursor"].as_str().unwrap();
                let page = service.get(&format!("{path}&cursor={next}")).await.ok();
                assert_eq!(page["orders"][0]["id"], "2");
                assert_eq!(page["total_due"], total_due);
            });
        }
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
    service
        .get("/users/3/orders")
        .await
        .problem(404, "user-not-found");
}

#[tokio::test]
async fn statement_timeout_applies_behind_a_pooler() {
    let database = TestDatabase::demo().await;
    let Some(pooler) = PgBouncer::start("transaction", "") else {
        return;
    };
    let settings = PoolSettings {
        database_pooler: Pooler::Transaction,
        statement_timeout: Duration::from_millis(100),
        ..PoolSettings::default()
    };
    let url = DatabaseUrl::from(pooler.url(database.name()));
    let service = Service::new(UserDirectory::open(&url, &settings).unwrap());
    assert_statements_time_out(&service, &database).await;
}

/// Other clients of the pooler leave their settings on its server connections.
#[tokio::test]
async fn settings_of_other_pooler_clients_have_no_effect() {
    let database = TestDatabase::demo_with(
        "CREATE ROLE unprivileged;
         ALTER TABLE client1.items ALTER price TYPE double precision;
         UPDATE client1.items SET price = 0.1::float8 + 0.2::float8 WHERE id = '2';
         CREATE FUNCTION client2.yes(varchar, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
         CREATE OPERATOR client2.= (LEFTARG = varchar, RIGHTARG = text, FUNCTION = client2.yes);",
    )
    .await;
    let Some(pooler) = PgBouncer::start("transaction", ACCEPT_STARTUP_PARAMETERS) else {
        return;
    };
    let service = service_behind(pooler.url(database.name()), 1);
    for leftover in [
        "SET search_path TO client2",
        "SET ROLE unprivileged",
        "SET statement_timeout TO 1",
        "SET extra_float_digits TO -10",
        "SET default_transaction_isolation TO serializable",
        "CREATE TEMPORARY TABLE orders (LIKE client2.orders); CREATE TEMPORARY TABLE items (LIKE client2.items)",
    ] {
        let mut other_client = PgConnection::connect(&pooler.url(database.name())).await.unwrap();
        other_client.execute(leftover).await.unwrap();
        // The other client stays connected; the pooler gives its server connection to the service.
        let page = service.get("/users/1/orders").await.ok();
        assert_eq!(page["orders"].as_array().unwrap().len(), 2, "{leftover}");
        assert_eq!(
            page["orders"][1]["unit_price"], "0.30000000000000004",
            "{leftover}"
        );
        other_client.execute("RESET ALL; RESET ROLE").await.unwrap();
        other_client.close().await.unwrap();
    }
}

#[tokio::test]
async fn unconfigured_transaction_pooler_is_refused() {
    let database = TestDatabase::demo().await;
    for options in ["", ACCEPT_STARTUP_PARAMETERS] {
        let Some(pooler) = PgBouncer::start("transaction", options) else {
            return;
        };
        let (status, _, errors) =
            finished(ServiceProcess::command().env("DATABASE_URL", pooler.url(database.name())));
        assert_eq!(status, Some(1), "{errors}");
        assert!(errors.contains("set DATABASE_POOLER=transaction"), "{errors}");
        let url = DatabaseUrl::from(pooler.url(database.name()));
        let service = Service::new(UserDirectory::open(&url, &PoolSettings::default()).unwrap());
        for path in ["/readyz", "/users/1/orders"] {
            service.get(path).await.problem(503, "database-unavailable");
        }
    }
}

/// A message is one statement to PgBouncer, and one transaction to PostgreSQL.
#[tokio::test]
async fn requests_through_a_statement_pooler_see_their_own_rows() {
    let database = TestDatabase::demo().await;
    let Some(pooler) = PgBouncer::start("statement", "") else {
        return;
    };
    let service = service_behind(pooler.url(database.name()), 8);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..50 {
        for (user, total_due) in [("1", "60000.00"), ("2", "10500.00")] {
            let service = service.clone();
            requests.spawn(async move {
                let page = service.get(&format!("/users/{user}/orders")).await.ok();
                assert_eq!(page["total_due"], total_due);
            });
        }
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session_pooler_needs_no_setting() {
    let database = TestDatabase::demo().await;
    let Some(pooler) = PgBouncer::start("session", ACCEPT_STARTUP_PARAMETERS) else {
        return;
    };
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", pooler.url(database.name()))
            .env("DATABASE_MAX_CONNECTIONS", "2"), // the pooler has three server connections
    );
    let url = service.url();
    let page = client::get(format!("{url}/users/1/orders")).await.unwrap().ok();
    assert_eq!(page["total_due"], "60000.00");
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

#[tokio::test]
async fn commands_that_need_sessions_refuse_a_transaction_pooler() {
    let database = TestDatabase::demo().await;
    for options in ["", ACCEPT_STARTUP_PARAMETERS] {
        let Some(pooler) = PgBouncer::start("transaction", options) else {
            return;
        };
        for command in [vec!["migrate"], vec!["seed", "demo"], vec!["seed", "bulk"]] {
            let (status, _, errors) = finished(
                ServiceProcess::command()
                    .args(&command)
                    .env("DATABASE_URL", pooler.url(database.name())),
            );
            assert_eq!(status, Some(1), "{errors}");
            assert!(
                errors.contains("set DATABASE_URL to PostgreSQL itself"),
                "{errors}"
            );
        }
    }
}
