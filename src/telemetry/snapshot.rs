//! Metrics that are counted elsewhere and read at each scrape.

use std::sync::{Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, IntCounter, IntCounterVec, IntGauge, Opts};

use super::log_queue;
use super::top_tenants::{TenantCounts, TopTenants};
use crate::tenancy::PoolStatus;
use crate::users::{TenantCacheCounts, UserDirectory};

/// Returns the metrics of the connection pool, the tenant cache, the busiest tenants and the log.
pub(super) fn collect(users: &UserDirectory, tenants: &Mutex<TopTenants>) -> Vec<MetricFamily> {
    let mut tenants = tenants.lock().unwrap_or_else(PoisonError::into_inner);
    tenants.rerank_if_due();
    [
        pool(users.database().pool_status()),
        tenant_cache(users.tenant_cache_counts()),
        tenants_by_name(&tenants.counts()),
        counter(
            "tenant_orders_log_lines_dropped_total",
            "Log lines dropped because stderr did not accept them in time.",
            log_queue::dropped_lines(),
        ),
    ]
    .concat()
}

fn pool(status: PoolStatus) -> Vec<MetricFamily> {
    [
        gauge(
            "tenant_orders_pool_connections_limit",
            "Maximum number of database connections.",
            status.limit,
        ),
        gauge(
            "tenant_orders_pool_connections",
            "Open database connections.",
            status.open,
        ),
        gauge(
            "tenant_orders_pool_connections_idle",
            "Idle database connections.",
            status.idle,
        ),
        gauge(
            "tenant_orders_pool_connections_in_use",
            "Database connections that are in use or being opened.",
            status.in_use,
        ),
        gauge(
            "tenant_orders_pool_waiting",
            "Requests waiting for a database connection.",
            status.waiting,
        ),
        counter(
            "tenant_orders_pool_timeouts_total",
            "Waits for a database connection that timed out.",
            status.timeouts,
        ),
    ]
    .concat()
}

fn tenant_cache(counts: TenantCacheCounts) -> Vec<MetricFamily> {
    let lookups = expect_valid(IntCounterVec::new(
        Opts::new(
            "tenant_orders_tenant_cache_lookups_total",
            "Lookups in the tenant cache, by result (hit or miss).",
        ),
        &["result"],
    ));
    lookups.with_label_values(&["hit"]).inc_by(counts.hits);
    lookups.with_label_values(&["miss"]).inc_by(counts.misses);
    let stale = counter(
        "tenant_orders_tenant_cache_stale_total",
        "Cache hits that were out of date.",
        counts.stale,
    );
    [lookups.collect(), stale].concat()
}

fn tenants_by_name(counts: &[(&str, TenantCounts)]) -> Vec<MetricFamily> {
    let counters = |name, help| expect_valid(IntCounterVec::new(Opts::new(name, help), &["tenant"]));
    let requests = counters(
        "tenant_orders_tenant_requests_total",
        "Requests for orders, for each of the busiest tenants and for all other tenants together.",
    );
    let failures = counters(
        "tenant_orders_tenant_failures_total",
        "Requests for orders with a status of 500 or more.",
    );
    let database_time = expect_valid(CounterVec::new(
        Opts::new(
            "tenant_orders_tenant_database_seconds_total",
            "Time that requests for orders spent in the database, including the wait for a connection.",
        ),
        &["tenant"],
    ));
    for (tenant, counts) in counts {
        requests.with_label_values(&[tenant]).inc_by(counts.requests);
        failures.with_label_values(&[tenant]).inc_by(counts.failures);
        database_time
            .with_label_values(&[tenant])
            .inc_by(counts.database_time.as_secs_f64());
    }
    [requests.collect(), failures.collect(), database_time.collect()].concat()
}

fn gauge(name: &str, help: &str, value: impl TryInto<i64>) -> Vec<MetricFamily> {
    let gauge = expect_valid(IntGauge::new(name, help));
    gauge.set(value.try_into().unwrap_or(i64::MAX));
    gauge.collect()
}

fn counter(name: &str, help: &str, value: u64) -> Vec<MetricFamily> {
    let counter = expect_valid(IntCounter::new(name, help));
    counter.inc_by(value);
    counter.collect()
}

/// Unwraps the result of creating or registering a metric.
#[expect(
    clippy::expect_used,
    reason = "names and labels are constants: a wrong one fails at startup and in every test"
)]
pub(super) fn expect_valid<T>(result: prometheus::Result<T>) -> T {
    result.expect("the metric has a valid and unused name")
}
