//! One tenant that takes all it can, and the others.

use std::num::NonZeroUsize;
use std::time::Duration;

use tenant_orders::config::PoolSettings;
use tokio::task::JoinSet;

use crate::support::{Answer, Service, TestDatabase};

/// Four connections, two of them for a tenant at most.
fn settings() -> PoolSettings {
    PoolSettings {
        database_max_connections: 4,
        tenant_max_concurrent_requests: NonZeroUsize::new(2),
        statement_timeout: Duration::from_mins(1),
        ..PoolSettings::default()
    }
}

/// So many requests of the first user, all at once.
fn flood(service: &Service, requests: usize) -> JoinSet<Answer> {
    let mut flood = JoinSet::new();
    for _ in 0..requests {
        let service = service.clone();
        flood.spawn(async move { service.get("/users/1/orders").await });
    }
    flood
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_tables_are_locked_waits_alone() {
    let database = TestDatabase::demo().await;
    let pool = database.database_with(&PoolSettings {
        acquire_timeout: Duration::from_secs(3),
        ..settings()
    });
    let service = Service::with(pool, Duration::from_mins(1), 1024);
    service.get("/users/1/orders").await.ok();
    let lock = database.lock("client1.orders").await;
    let mut flood = flood(&service, 20);
    database.backends_are_blocked(2).await;
    for _ in 0..50 {
        let others = service.get("/users/2/orders").await.ok();
        assert_eq!(others["total_due"], "10500.00");
        assert_eq!(service.get("/readyz").await.status, 200);
    }
    assert_eq!(database.blocked_backends().await, 2);
    // Those who have their turn wait for the lock, the others have waited long enough.
    for _ in 0..18 {
        let refused = flood.join_next().await.unwrap().unwrap();
        refused.problem(429, "tenant-overloaded");
        assert!(!refused.text().contains("client1"));
    }
    lock.release().await;
    while let Some(answer) = flood.join_next().await {
        assert_eq!(answer.unwrap().ok()["total_due"], "60000.00");
    }
    service.get("/users/1/orders").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_served_in_turn_where_its_turn_comes_in_time() {
    let database = TestDatabase::demo().await;
    let pool = database.database_with(&PoolSettings {
        acquire_timeout: Duration::from_mins(1),
        ..settings()
    });
    let service = Service::with(pool, Duration::from_mins(1), 1024);
    let mut flood = flood(&service, 200);
    while let Some(answer) = flood.join_next().await {
        answer.unwrap().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_wait_are_refused_at_once() {
    let database = TestDatabase::demo().await;
    let pool = database.database_with(&PoolSettings {
        tenant_max_waiting_requests: 3,
        acquire_timeout: Duration::from_mins(1),
        ..settings()
    });
    let service = Service::with(pool, Duration::from_mins(1), 1024);
    service.get("/users/1/orders").await.ok();
    let lock = database.lock("client1.orders").await;
    let mut first = flood(&service, 2);
    database.backends_are_blocked(2).await;
    let mut flood = flood(&service, 28);
    for _ in 0..25 {
        let refused = flood.join_next().await.unwrap().unwrap();
        refused.problem(429, "tenant-overloaded");
    }
    let metrics = service.get("/metrics").await.text();
    for counted in ["limited_total 25", "shed_total 0"] {
        let line = format!("tenant_orders_http_requests_{counted}");
        assert!(metrics.lines().any(|told| told == line), "{line}\n{metrics}");
    }
    lock.release().await;
    for requests in [&mut first, &mut flood] {
        while let Some(answer) = requests.join_next().await {
            answer.unwrap().ok();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_cut_off_keeps_its_share_until_the_server_is_done() {
    let database = TestDatabase::demo().await;
    let pool = database.database_with(&PoolSettings {
        acquire_timeout: Duration::from_secs(1),
        ..settings()
    });
    let service = Service::with(pool, Duration::from_secs(2), 1024);
    service.get("/users/1/orders").await.ok();
    let lock = database.lock("client1.orders").await;
    let mut flood = flood(&service, 2);
    while let Some(answer) = flood.join_next().await {
        answer.unwrap().problem(504, "timeout");
    }
    assert_eq!(database.blocked_backends().await, 2);
    let refused = service.get("/users/1/orders").await;
    refused.problem(429, "tenant-overloaded");
    service.get("/users/2/orders").await.ok();
    lock.release().await;
    database.backends_are_blocked(0).await;
    while service.get("/users/1/orders").await.status != 200 {}
}
