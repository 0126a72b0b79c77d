//! Metrics by tenant.

use std::collections::BTreeSet;

use super::exposition::Exposition;
use crate::support::fleet::{self, Lookup};
use crate::support::{Service, TestDatabase};

const REQUESTS: &str = "tenant_orders_tenant_requests_total";
const FAILURES: &str = "tenant_orders_tenant_failures_total";

async fn metrics(service: &Service) -> Exposition {
    Exposition::from_answer(&service.get("/metrics").await)
}

#[tokio::test]
async fn tenants_with_hostile_names_have_series() {
    let database = TestDatabase::empty_with(fleet::statements(Lookup::Plain)).await;
    let service = Service::with_metrics_of(1000, database.database());
    let mut names = BTreeSet::from(["other"]);
    for tenant in fleet::tenants() {
        for user in tenant.users() {
            service.get(&format!("/users/{user}/orders")).await.ok();
        }
        names.insert(tenant.name);
    }
    let metrics = metrics(&service).await;
    assert_eq!(metrics.values_of("tenant"), names);
    for tenant in fleet::tenants() {
        let label = [("tenant", tenant.name)];
        assert_eq!(metrics.value(REQUESTS, &label), 3.0, "{:?}", tenant.name);
        assert_eq!(metrics.value(FAILURES, &label), 0.0);
        assert!(metrics.value("tenant_orders_tenant_database_seconds_total", &label) > 0.0);
    }
}

#[tokio::test]
async fn tenants_beyond_the_limit_share_one_series() {
    let database = TestDatabase::demo().await;
    for (max_series, expected) in [
        (0, [("other", 3.0)].as_slice()),
        (1, &[("client1", 2.0), ("other", 1.0)]),
    ] {
        let service = Service::with_metrics_of(max_series, database.database());
        for user in [1, 2, 1] {
            service.get(&format!("/users/{user}/orders")).await.ok();
        }
        let metrics = metrics(&service).await;
        assert_eq!(metrics.values_of("tenant").len(), expected.len());
        for (tenant, requests) in expected {
            assert_eq!(metrics.value(REQUESTS, &[("tenant", tenant)]), *requests);
        }
    }
}

#[tokio::test]
async fn failures_are_counted_by_tenant() {
    let database = TestDatabase::demo_with("DROP TABLE client1.orders").await;
    let service = Service::over(&database);
    service
        .get("/users/1/orders")
        .await
        .problem(503, "tenant-unavailable");
    service.get("/users/2/orders").await.ok();
    service
        .get("/users/nobody/orders")
        .await
        .problem(404, "user-not-found");
    let metrics = metrics(&service).await;
    for (tenant, failures) in [("client1", 1.0), ("client2", 0.0), ("other", 0.0)] {
        assert_eq!(
            metrics.value(FAILURES, &[("tenant", tenant)]),
            failures,
            "{tenant}"
        );
    }
    assert_eq!(metrics.sum(REQUESTS, &[]), 2.0);
}
