//! Metrics that are counted elsewhere and read when somebody asks: each as a family of its own.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::busiest::Counts;
use crate::tenancy::PoolStatus;
use crate::users::TenantCacheCounts;

/// A label's name and value.
type Label<'l> = (&'static str, &'l str);

pub(super) fn build() -> MetricFamily {
    let version = ("version", env!("CARGO_PKG_VERSION"));
    gauge(
        "tenant_orders_build_info",
        "Which version runs.",
        [(Some(version), 1.0)],
    )
}

pub(super) fn pool(status: PoolStatus) -> [MetricFamily; 6] {
    [
        gauge(
            "tenant_orders_pool_connections_limit",
            "Connections to the database that there may be.",
            [(None, number(status.limit))],
        ),
        gauge(
            "tenant_orders_pool_connections",
            "Connections to the database that there are.",
            [(None, number(status.open))],
        ),
        gauge(
            "tenant_orders_pool_connections_idle",
            "Connections to the database that nobody uses.",
            [(None, number(status.idle))],
        ),
        gauge(
            "tenant_orders_pool_connections_in_use",
            "Connections to the database that are in use or being made.",
            [(None, number(status.in_use))],
        ),
        gauge(
            "tenant_orders_pool_waiting",
            "Requests that wait for a connection to the database.",
            [(None, number(status.waiting))],
        ),
        counter(
            "tenant_orders_pool_timeouts_total",
            "Waits for a connection to the database that were given up.",
            [(None, number(status.timeouts))],
        ),
    ]
}

pub(super) fn hints(counts: TenantCacheCounts) -> [MetricFamily; 2] {
    [
        counter(
            "tenant_orders_tenant_cache_lookups_total",
            "Requests whose user's tenant was remembered (hit) or not (miss).",
            [
                (Some(("result", "hit")), number(counts.hits)),
                (Some(("result", "miss")), number(counts.misses)),
            ],
        ),
        counter(
            "tenant_orders_tenant_cache_stale_total",
            "Hits that were out of date.",
            [(None, number(counts.stale))],
        ),
    ]
}

pub(super) fn tenants(counts: &[(&str, Counts)]) -> [MetricFamily; 3] {
    let of_each = |value: fn(&Counts) -> f64| {
        counts
            .iter()
            .map(move |(name, counts)| (Some(("tenant", *name)), value(counts)))
    };
    [
        counter(
            "tenant_orders_tenant_requests_total",
            "Requests for orders of each of the busiest tenants, and of all others.",
            of_each(|counts| number(counts.requests)),
        ),
        counter(
            "tenant_orders_tenant_failures_total",
            "Of these, those that were answered with a status of 500 or more.",
            of_each(|counts| number(counts.failures)),
        ),
        counter(
            "tenant_orders_tenant_database_seconds_total",
            "The time that they took at the database, waits for a connection included.",
            of_each(|counts| counts.database_time.as_secs_f64()),
        ),
    ]
}

pub(super) fn counter<'l>(
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (Option<Label<'l>>, f64)>,
) -> MetricFamily {
    family(name, help, MetricType::COUNTER, samples, |metric, value| {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    })
}

pub(super) fn gauge<'l>(
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (Option<Label<'l>>, f64)>,
) -> MetricFamily {
    family(name, help, MetricType::GAUGE, samples, |metric, value| {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    })
}

fn family<'l>(
    name: &str,
    help: &str,
    kind: MetricType,
    samples: impl IntoIterator<Item = (Option<Label<'l>>, f64)>,
    set: fn(&mut Metric, f64),
) -> MetricFamily {
    let metrics = samples.into_iter().map(|(label, value)| {
        let mut metric = Metric::from_label(label.into_iter().map(pair).collect());
        set(&mut metric, value);
        metric
    });
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics.collect());
    family
}

fn pair((name, value): Label<'_>) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

/// A count as Prometheus has it.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub(super) fn number(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}
