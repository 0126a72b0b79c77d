//! The limits of concurrent and waiting requests of one tenant.

use std::num::NonZeroUsize;
use std::time::Duration;

use tenant_orders::config::PoolSettings;
use tokio::task::JoinSet;

use crate::support::{Answer, Service, TestDatabase, wait_until};

/// Four connections, at most two of them for one tenant.
fn settings() -> PoolSettings {
    PoolSettings {
        database_max_connections: 4,
        tenant_max_concurrent_requests: NonZeroUsize::new(2),
        statement_timeout: Duration::from_mins(1),
        ..PoolSettings::default()
    }
}

/// Sends `requests` concurrent requests of the first user.
fn send_requests(service: &Service, requests: usize) -> JoinSet<Answer> {
    let mut tasks = JoinSet::new();
    for _ in 0..requests {
        let service = service.clone();
        tasks.spawn(async move { service.get("/users/1/orders").await });
    }
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_tenant_delays_no_other_tenant() {
    let database = TestDatabase::demo().await;
    let pool = database.database_with(&PoolSettings {
        acquire_timeout: Duration::from_secs(3),
        ..settings()
    });
    let service = Service::with(pool, Duration::from_mins(1), 1024);
    service.get("/users/1/orders").await.ok();
    let lock = database.lock("client1.orders").await;
    let mut requests = send_requests(&service, 20);
    database.backends_are_blocked(2).await;
    for _ in 0..50 {
        let other_tenant = service.get("/users/2/orders").await.ok();
        assert_eq!(other_tenant["total_due"], "10500.00");
        assert_eq!(service.get("/readyz").await.status, 200);
    }
    assert_eq!(database.blocked_backends().await, 2);
    // Two requests wait for the lock. The others time out waiting for a permit of the tenant.
    for _ in 0..18 {
        let refused = requests.join_next().await.unwrap().unwrap();
        refused.problem(429, "tenant-overloaded");
        assert!(!refused.text().contains("client1"));
    }
    lock.release().await;
    while let Some(answer) = requests.join_next().await {
        assert_eq!(answer.unwrap().ok()["total_due"], "60000.00");
    }
    service.get("/users/1/orders").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_requests_of_one_tenant_are_all_served() {
    let database = TestDatabase::demo().await;
    let pool = database.database_with(&PoolSettings {
        acquire_timeout: Duration::from_mins(1),
        ..settings()
    });
    let service = Service::with(pool, Duration::from_mins(1), 1024);
    let mut requests = send_requests(&service, 200);
    while let Some(answer) = requests.join_next().await {
        answer.unwrap().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_waiting_limit_get_429_at_once() {
    let database = TestDatabase::demo().await;
    let pool = database.database_with(&PoolSettings {
        tenant_max_waiting_requests: 3,
        acquire_timeout: Duration::from_mins(1),
        ..settings()
    });
    let service = Service::with(pool, Duration::from_mins(1), 1024);
    service.get("/users/1/orders").await.ok();
    let lock = database.lock("client1.orders").await;
    let mut running = send_requests(&service, 2);
    database.backends_are_blocked(2).await;
    let mut requests = send_requests(&service, 28);
    for _ in 0..25 {
        let refused = requests.join_next().await.unwrap().unwrap();
        refused.problem(429, "tenant-overloaded");
    }
    let metrics = service.get("/metrics").await.text();
    for sample in ["limited_total 25", "shed_total 0"] {
        let line = format!("tenant_orders_http_requests_{sample}");
        assert!(metrics.lines().any(|metric| metric == line), "{line}\n{metrics}");
    }
    lock.release().await;
    for requests in [&mut running, &mut requests] {
        while let Some(answer) = requests.join_next().await {
            answer.unwrap().ok();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn timed_out_request_keeps_its_permit_until_the_statement_ends() {
    let database = TestDatabase::demo().await;
    let pool = database.database_with(&PoolSettings {
        acquire_timeout: Duration::from_secs(1),
        ..settings()
    });
    let service = Service::with(pool, Duration::from_secs(2), 1024);
    service.get("/users/1/orders").await.ok();
    let lock = database.lock("client1.orders").await;
    let mut requests = send_requests(&service, 2);
    while let Some(answer) = requests.join_next().await {
        answer.unwrap().problem(504, "timeout");
    }
    assert_eq!(database.blocked_backends().await, 2);
    let refused = service.get("/users/1/orders").await;
    refused.problem(429, "tenant-overloaded");
    service.get("/users/2/orders").await.ok();
    lock.release().await;
    database.backends_are_blocked(0).await;
    wait_until("the permits are free", async || {
        service.get("/users/1/orders").await.status == 200
    })
    .await;
}
