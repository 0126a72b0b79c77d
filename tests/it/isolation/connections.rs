//! Reuse and limit of the service's connections, observed as backends of PostgreSQL.

use std::time::Duration;

use tenant_orders::config::PoolSettings;

use crate::support::{Service, TestDatabase, wait_until};

const BACKENDS: &str = "SELECT COALESCE(string_agg(pid::text, ' '), '') FROM pg_stat_activity
                        WHERE datname = current_database() AND application_name = 'tenant-orders'";

/// Waits until the service has one backend and returns its pid. The backend of the isolation check ends soon.
async fn only_backend(database: &TestDatabase) -> String {
    let mut pids = String::new();
    wait_until("the service has one backend", async || {
        pids = database.text(BACKENDS).await;
        pids.parse::<u32>().is_ok()
    })
    .await;
    pids
}

fn service_with_one_connection(database: &TestDatabase) -> Service {
    Service::new(database.database_with(&PoolSettings {
        database_max_connections: 1,
        ..PoolSettings::default()
    }))
}

#[tokio::test]
async fn successful_requests_reuse_their_connection() {
    let database = TestDatabase::demo().await;
    let service = service_with_one_connection(&database);
    service.get("/users/1/orders").await.ok();
    let before = only_backend(&database).await;
    for _ in 0..10 {
        service.get("/users/1/orders").await.ok();
        service.get("/users/2/orders?limit=1").await.ok();
        service
            .get("/users/none/orders")
            .await
            .problem(404, "user-not-found");
    }
    assert_eq!(only_backend(&database).await, before);
}

/// A backend keeps its cached catalog entries of a tenant until it ends.
#[tokio::test]
async fn connection_is_replaced_once_when_affinity_is_enabled() {
    let database = TestDatabase::demo().await;
    let service = Service::new(database.database_with(&PoolSettings {
        database_max_connections: 1,
        database_statement_cache: 2, // two tenants enable the affinity
        ..PoolSettings::default()
    }));
    let get = async |user: u32| service.get(&format!("/users/{user}/orders")).await.ok();
    get(1).await;
    let before = only_backend(&database).await;
    get(1).await;
    assert_eq!(only_backend(&database).await, before);
    get(2).await; // closes its connection afterwards
    get(1).await;
    let after = only_backend(&database).await;
    assert_ne!(after, before);
    get(2).await;
    get(1).await;
    assert_eq!(only_backend(&database).await, after);
}

#[tokio::test]
async fn client_disconnect_closes_no_connection() {
    let database = TestDatabase::demo().await;
    let service = service_with_one_connection(&database);
    service.get("/users/1/orders").await.ok();
    let before = only_backend(&database).await;
    for (path, table) in [("/users/1/orders", "client1.items"), ("/readyz", "public.users")] {
        let lock = database.lock(table).await;
        let client = tokio::spawn({
            let service = service.clone();
            async move { service.get(path).await }
        });
        database.service_is_blocked().await;
        client.abort();
        assert!(client.await.is_err());
        lock.release().await;
        service.get("/users/2/orders").await.ok();
        assert_eq!(only_backend(&database).await, before, "{path}");
    }
}

#[tokio::test]
async fn error_in_tenant_scope_closes_the_connection() {
    let database =
        TestDatabase::demo_with("INSERT INTO public.users (id, organization_id) VALUES ('x', 'missing')")
            .await;
    let service = service_with_one_connection(&database);
    service.get("/users/1/orders").await.ok();
    let before = only_backend(&database).await;
    service
        .get("/users/x/orders")
        .await
        .problem(503, "tenant-unavailable");
    service.get("/users/1/orders").await.ok();
    assert_ne!(only_backend(&database).await, before);
}

#[tokio::test]
async fn pool_never_exceeds_its_connection_limit() {
    let database = TestDatabase::demo().await;
    let settings = PoolSettings {
        database_max_connections: 2,
        acquire_timeout: Duration::from_millis(50),
        statement_timeout: Duration::from_secs(2),
        ..PoolSettings::default()
    };
    let service = Service::with(
        database.database_with(&settings),
        Duration::from_millis(100),
        1024,
    );
    wait_until("the service is ready", async || {
        service.get("/readyz").await.status == 200
    })
    .await;
    only_backend(&database).await;
    let lock = database.lock("client1.items").await;
    for _ in 0..8 {
        let answer = service.get("/users/1/orders").await;
        assert!([503, 504].contains(&answer.status.as_u16()));
        let backends = database.text(BACKENDS).await;
        assert!(backends.split(' ').count() <= 2, "{backends}");
    }
    lock.release().await;
}
