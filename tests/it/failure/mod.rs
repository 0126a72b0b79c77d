//! Failures of the database: every response follows the error table, and the service recovers without a restart.

mod outages;
mod retries;

use std::time::Duration;

use tenant_orders::config::{DatabaseUrl, PoolSettings};
use tenant_orders::users::UserDirectory;

use crate::support::{Service, wait_until};

const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(300);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// A timeout that no test reaches unless it fails.
const LONG_TIMEOUT: Duration = Duration::from_mins(1);

fn service(url: String) -> Service {
    let settings = PoolSettings {
        database_max_connections: 3,
        acquire_timeout: ACQUIRE_TIMEOUT,
        statement_timeout: Duration::from_secs(1),
        ..PoolSettings::default()
    };
    let database = UserDirectory::open(&DatabaseUrl::from(url), &settings).unwrap();
    Service::with(database, REQUEST_TIMEOUT, 1024)
}

fn service_with_long_timeouts(url: String) -> Service {
    let settings = PoolSettings {
        statement_timeout: LONG_TIMEOUT,
        ..PoolSettings::default()
    };
    let database = UserDirectory::open(&DatabaseUrl::from(url), &settings).unwrap();
    Service::with(database, LONG_TIMEOUT, 1024)
}

/// Waits until `path` returns 200. Until then only `database-unavailable` and `timeout` are accepted.
async fn recovers(service: &Service, path: &str) {
    wait_until(&format!("{path} recovers"), async || {
        let answer = service.get(path).await;
        match answer.status.as_u16() {
            200 => return true,
            504 => answer.problem(504, "timeout"),
            _ => answer.problem(503, "database-unavailable"),
        };
        false
    })
    .await;
}

/// Asserts that concurrent requests get `database-unavailable` while the database is down.
async fn assert_unavailable(service: &Service) {
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..20 {
        let service = service.clone();
        requests.spawn(async move {
            let path = if number % 5 == 0 {
                "/readyz"
            } else {
                "/users/1/orders"
            };
            service.get(path).await.problem(503, "database-unavailable");
        });
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
    assert_eq!(service.get("/livez").await.status, 200);
}

/// Asserts that the service is ready and returns correct totals.
async fn assert_serves(service: &Service) {
    recovers(service, "/readyz").await;
    for _ in 0..10 {
        assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60000.00");
        assert_eq!(service.get("/users/2/orders").await.ok()["total_due"], "10500.00");
    }
}
