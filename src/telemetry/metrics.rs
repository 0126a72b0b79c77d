//! What is counted and measured, for Prometheus. docs/observability.md has all the names.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::Method;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntGauge, Registry, TEXT_FORMAT, TextEncoder,
};

use super::busiest::Busiest;
use super::snapshot;
use crate::config::MetricsSettings;
use crate::tenancy::{RequestTimings, Step};
use crate::users::UserDirectory;

/// Seconds: from an answer out of the cache of the server to the longest that a request may take by default.
const REQUEST_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Seconds.
const STEP_BUCKETS: [f64; 16] = [
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// The service's metrics. Clones are the same metrics.
#[derive(Clone)]
pub struct Metrics(Arc<Collected>);

struct Collected {
    registry: Registry,
    users: UserDirectory,
    requests: HistogramVec,
    in_flight: IntGauge,
    shed: IntCounter,
    limited: IntCounter,
    turned_away: IntCounter,
    steps: [(Step, Histogram); 3],
    tenants: Mutex<Busiest>,
}

impl Metrics {
    /// What [`Metrics::render`] writes.
    pub const CONTENT_TYPE: &str = TEXT_FORMAT;

    /// None was counted yet. The pool of `users` is asked whenever the metrics are.
    #[must_use]
    pub fn new(users: UserDirectory, settings: &MetricsSettings) -> Self {
        let registry = Registry::new();
        let counter = |name, help| registered(&registry, IntCounter::new(name, help));
        let durations = |name, help, labels: &[&str], buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            registered(&registry, HistogramVec::new(options, labels))
        };
        let steps = durations(
            "tenant_orders_database_step_duration_seconds",
            "How long each step at the database took, for each request that took it.",
            &["step"],
            &STEP_BUCKETS,
        );
        Self(Arc::new(Collected {
            requests: durations(
                "tenant_orders_http_request_duration_seconds",
                "How long requests took to be answered. Status 499: the client was gone before.",
                &["method", "route", "status"],
                &REQUEST_BUCKETS,
            ),
            in_flight: registered(
                &registry,
                IntGauge::new("tenant_orders_http_requests_in_flight", "Requests at work."),
            ),
            shed: counter(
                "tenant_orders_http_requests_shed_total",
                "Requests beyond MAX_CONCURRENT_REQUESTS, answered 503.",
            ),
            limited: counter(
                "tenant_orders_http_requests_limited_total",
                "Requests beyond their tenant's share, answered 429.",
            ),
            turned_away: counter(
                "tenant_orders_connections_turned_away_total",
                "Clients beyond MAX_CLIENT_CONNECTIONS.",
            ),
            steps: Step::ALL.map(|step| (step, steps.with_label_values(&[step.name()]))),
            tenants: Mutex::new(Busiest::new(settings.metrics_tenants)),
            users,
            registry,
        }))
    }

    /// A request begins.
    pub(crate) fn request_begins(&self) {
        self.0.in_flight.inc();
    }

    /// A request has ended. `status` is one that HTTP knows, and `route` one of ours: as text they make
    /// few series.
    pub(crate) fn request_ended(&self, method: &Method, route: &str, status: &str, took: Duration) {
        self.0.in_flight.dec();
        self.0
            .requests
            .with_label_values(&[known(method), route, status])
            .observe(took.as_secs_f64());
    }

    /// A request was refused because there are too many.
    pub(crate) fn request_shed(&self) {
        self.0.shed.inc();
    }

    /// A request was refused because there are too many of its tenant.
    pub(crate) fn request_limited(&self) {
        self.0.limited.inc();
    }

    /// A client was refused because there are too many.
    pub(crate) fn client_turned_away(&self) {
        self.0.turned_away.inc();
    }

    /// All that a request did at the database is done.
    pub(crate) fn database_done(&self, trace: &RequestTimings, failed: bool) {
        let mut database_time = Duration::ZERO;
        for (step, histogram) in &self.0.steps {
            if let Some(time) = trace.duration_of(*step) {
                histogram.observe(time.as_secs_f64());
                database_time += time;
            }
        }
        if let Some(tenant) = trace.tenant() {
            let mut tenants = self.0.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            tenants.count(&tenant, failed, database_time);
        }
    }

    /// All metrics as they are now, in Prometheus' text format.
    ///
    /// # Errors
    ///
    /// Where a metric cannot be written in that format: none of ours.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut families = self.0.registry.gather();
        families.push(snapshot::build());
        families.extend(snapshot::pool(self.0.users.database().pool_status()));
        families.extend(snapshot::hints(self.0.users.tenant_cache_counts()));
        {
            let mut tenants = self.0.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            tenants.rerank_if_due();
            families.extend(snapshot::tenants(&tenants.counts()));
        }
        #[cfg(target_os = "linux")]
        families.extend(super::process::families());
        TextEncoder::new().encode_to_string(&families)
    }
}

/// A method as a label: a client may send any word for one.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Registers a metric whose name and labels are constants.
#[expect(
    clippy::expect_used,
    reason = "a name that is wrong or taken fails at the start, in every test"
)]
fn registered<M: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<M>) -> M {
    let metric = metric.expect("a metric has a valid name");
    registry
        .register(Box::new(metric.clone()))
        .expect("a metric has a name of its own");
    metric
}
