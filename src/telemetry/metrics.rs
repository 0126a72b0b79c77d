//! The service's metrics. docs/observability.md lists all names.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::Method;
use prometheus::core::Collector;
#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TEXT_FORMAT,
    TextEncoder,
};

use super::snapshot::{self, expect_valid};
use super::top_tenants::TopTenants;
use crate::config::MetricsSettings;
use crate::tenancy::{RequestTimings, Step};
use crate::users::UserDirectory;

/// Buckets up to the default of `REQUEST_TIMEOUT`.
const REQUEST_BUCKETS_SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Buckets up to the default of `STATEMENT_TIMEOUT`.
const STEP_BUCKETS_SECONDS: [f64; 16] = [
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Values of the label `reason` of invalid requests.
const MALFORMED: &str = "malformed";
const TOO_LARGE: &str = "too_large";

/// The service's metrics. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<MetricSet>);

struct MetricSet {
    registry: Registry,
    requests: HistogramVec,
    in_flight: IntGauge,
    shed: IntCounter,
    limited: IntCounter,
    rejected_clients: IntCounter,
    invalid_requests: IntCounterVec,
    steps: [(Step, Histogram); 3],
    tenants: Mutex<TopTenants>,
    users: UserDirectory,
}

impl Metrics {
    /// Content type of [`Metrics::render`].
    pub(crate) const CONTENT_TYPE: &str = TEXT_FORMAT;

    /// Creates metrics with all counts zero. Each scrape reads the pool's state from `users`.
    #[must_use]
    pub fn new(users: UserDirectory, settings: &MetricsSettings) -> Self {
        let registry = Registry::new();
        let counter = |name, help| register(&registry, IntCounter::new(name, help));
        let durations = |name, help, labels: &[&str], buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            register(&registry, HistogramVec::new(options, labels))
        };
        let steps = durations(
            "tenant_orders_database_step_duration_seconds",
            "Duration of each database step of a request.",
            &["step"],
            &STEP_BUCKETS_SECONDS,
        );
        let invalid_requests = Opts::new(
            "tenant_orders_http_requests_invalid_total",
            "Requests that are not valid HTTP (400), or whose head is too large (431 or 414).",
        );
        let invalid_requests = register(&registry, IntCounterVec::new(invalid_requests, &["reason"]));
        for reason in [MALFORMED, TOO_LARGE] {
            invalid_requests.with_label_values(&[reason]); // a series begins with 0, not with its first count
        }
        #[cfg(target_os = "linux")]
        expect_valid(registry.register(Box::new(ProcessCollector::for_self())));
        let build_info = Opts::new("tenant_orders_build_info", "Version of the running program.");
        let build_info = build_info.const_label("version", env!("CARGO_PKG_VERSION"));
        register(&registry, IntGauge::with_opts(build_info)).set(1);
        Self(Arc::new(MetricSet {
            requests: durations(
                "tenant_orders_http_request_duration_seconds",
                "Duration of requests. Status 499: the client closed the connection before the response.",
                &["method", "route", "status"],
                &REQUEST_BUCKETS_SECONDS,
            ),
            in_flight: register(
                &registry,
                IntGauge::new("tenant_orders_http_requests_in_flight", "Requests in flight."),
            ),
            shed: counter(
                "tenant_orders_http_requests_shed_total",
                "Requests rejected with 503 beyond MAX_CONCURRENT_REQUESTS.",
            ),
            limited: counter(
                "tenant_orders_http_requests_limited_total",
                "Requests rejected with 429 beyond TENANT_MAX_CONCURRENT_REQUESTS.",
            ),
            rejected_clients: counter(
                "tenant_orders_connections_rejected_total",
                "Clients rejected beyond MAX_CLIENT_CONNECTIONS.",
            ),
            invalid_requests,
            steps: Step::ALL.map(|step| (step, steps.with_label_values(&[step.name()]))),
            tenants: Mutex::new(TopTenants::new(settings.metrics_tenants)),
            users,
            registry,
        }))
    }

    pub(crate) fn begin_request(&self) {
        self.0.in_flight.inc();
    }

    /// Records the end of a request. `route` must be one of the service's routes, and `status` one of
    /// HTTP's: each combination is a time series.
    pub(crate) fn end_request(&self, method: &Method, route: &str, status: &str, took: Duration) {
        self.0.in_flight.dec();
        self.0
            .requests
            .with_label_values(&[method_label(method), route, status])
            .observe(took.as_secs_f64());
    }

    /// Counts a request rejected by the limit on concurrent requests.
    pub(crate) fn count_shed_request(&self) {
        self.0.shed.inc();
    }

    /// Counts a request rejected by the limit on its tenant's concurrent requests.
    pub(crate) fn count_limited_request(&self) {
        self.0.limited.inc();
    }

    /// Counts a client rejected by the limit on connections.
    pub(crate) fn count_rejected_client(&self) {
        self.0.rejected_clients.inc();
    }

    /// Counts a request that is not valid HTTP, or whose head is too large.
    pub(crate) fn count_invalid_request(&self, is_too_large: bool) {
        let reason = if is_too_large { TOO_LARGE } else { MALFORMED };
        self.0.invalid_requests.with_label_values(&[reason]).inc();
    }

    /// Records the database steps of a request after the last one has ended.
    pub(crate) fn observe_database(&self, timings: &RequestTimings, failed: bool) {
        let mut database_time = Duration::ZERO;
        for (step, histogram) in &self.0.steps {
            if let Some(time) = timings.duration_of(*step) {
                histogram.observe(time.as_secs_f64());
                database_time += time;
            }
        }
        if let Some(tenant) = timings.tenant() {
            let mut tenants = self.0.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            tenants.observe(&tenant, failed, database_time);
        }
    }

    /// Renders all metrics in Prometheus' text format.
    pub(crate) fn render(&self) -> Result<String, prometheus::Error> {
        let mut families = self.0.registry.gather();
        families.extend(snapshot::collect(&self.0.users, &self.0.tenants));
        families.sort_by(|one, other| one.name().cmp(other.name()));
        TextEncoder::new().encode_to_string(&families)
    }
}

/// Returns the label for `method`. Methods outside HTTP share one label, because clients can invent any
/// number of them.
fn method_label(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS => method.as_str(),
        _ => "other",
    }
}

fn register<M: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<M>) -> M {
    let metric = expect_valid(metric);
    expect_valid(registry.register(Box::new(metric.clone())));
    metric
}
