//! The log line, metrics and trace of each request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use tracing::{Span, field};

use super::problem_type::ProblemType;
use crate::config::{RequestSettings, TRACE_TARGET};
use crate::request_context::{RequestContext, RequestId};
use crate::telemetry::Metrics;
use crate::tenancy::{RequestTimings, Step};

const NO_ROUTE: &str = "-";
/// Status of a request if the client disconnects before the response, as in nginx.
const CLIENT_CLOSED_REQUEST: (u16, &str) = (499, "499");

/// Logs, measures and traces requests.
#[derive(Clone)]
pub(super) struct RequestLogger {
    pub(super) metrics: Metrics,
    pub(super) settings: RequestSettings,
}

/// Creates the span of the request's trace, by OpenTelemetry's semantic conventions for HTTP servers (1.33)
/// but without the path, which contains a user's id.
fn trace_span(method: &Method, route: &str) -> Span {
    tracing::info_span!(
        target: TRACE_TARGET,
        "request",
        otel.name = format_args!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = method.as_str(),
        http.route = route,
        http.response.status_code = field::Empty,
        url.scheme = "http",
        "error.type" = field::Empty,
        tenant = field::Empty,
    )
}

/// The database work of a request. It can outlive the client's connection, and is measured when it ends.
pub(super) struct DatabaseWork {
    pub(super) timings: RequestTimings,
    has_failed: AtomicBool,
    metrics: Metrics,
}

impl Drop for DatabaseWork {
    fn drop(&mut self) {
        self.metrics
            .observe_database(&self.timings, *self.has_failed.get_mut());
    }
}

/// The log entry of one request. Dropping it writes the log line, the metrics and the trace: when the response is
/// ready, or when the client has disconnected.
pub(super) struct RequestLog {
    logger: RequestLogger,
    method: Method,
    route: Option<MatchedPath>,
    request_id: RequestId,
    trace_id: Option<String>,
    started_at: Instant,
    database_work: Arc<DatabaseWork>,
    trace_span: Span,
    /// `None` until the response is ready.
    outcome: Option<(StatusCode, Option<ProblemType>)>,
}

impl RequestLog {
    /// Starts the log entry. Sets the trace id of `context`, and adds the [`DatabaseWork`] to the request.
    pub(super) fn start(logger: RequestLogger, request: &mut Request, context: &mut RequestContext) -> Self {
        logger.metrics.begin_request();
        let route = request.extensions().get::<MatchedPath>().cloned();
        let trace_span = trace_span(request.method(), route_name(route.as_ref()));
        #[cfg(feature = "otel")]
        {
            context.trace_id = crate::telemetry::traces::continue_trace(&trace_span, request.headers());
        }
        let database_work = Arc::new(DatabaseWork {
            timings: RequestTimings::with_span(trace_span.clone()),
            has_failed: AtomicBool::new(false),
            metrics: logger.metrics.clone(),
        });
        request.extensions_mut().insert(Arc::clone(&database_work));
        Self {
            logger,
            method: request.method().clone(),
            route,
            request_id: context.request_id.clone(),
            trace_id: context.trace_id.clone(),
            started_at: Instant::now(),
            database_work,
            trace_span,
            outcome: None,
        }
    }

    /// Records the outcome, and adds `Server-Timing` to the response if it is configured.
    pub(super) fn finish(mut self, response: &mut Response) {
        self.outcome = Some((response.status(), response.extensions().get().copied()));
        if self.logger.settings.server_timing {
            response.headers_mut().extend(self.server_timing());
        }
    }

    /// Returns the header `Server-Timing` (W3C) with the steps so far, in milliseconds.
    fn server_timing(&self) -> Option<(HeaderName, HeaderValue)> {
        let mut entries = vec![server_timing_entry("total", self.started_at.elapsed())];
        let timings = &self.database_work.timings;
        entries.extend(Step::ALL.iter().filter_map(|step| {
            let duration = timings.duration_of(*step)?;
            Some(server_timing_entry(step.name(), duration))
        }));
        let value = HeaderValue::try_from(entries.join(", ")).ok()?;
        Some((HeaderName::from_static("server-timing"), value))
    }

    fn write_line(&self, status: u16, latency: Duration) {
        let timings = &self.database_work.timings;
        let tenant = timings.tenant();
        let tenant = tenant.as_ref().map(|tenant| tenant.as_str());
        let latency_us = microseconds(latency);
        let (method, route) = (self.method.as_str(), route_name(self.route.as_ref()));
        let (request_id, trace_id) = (self.request_id.as_str(), self.trace_id.as_deref());
        if latency <= self.logger.settings.slow_request_threshold {
            tracing::info!(
                method,
                route,
                request_id,
                trace_id,
                status,
                latency_us,
                tenant,
                "request completed"
            );
            return;
        }
        let duration_of = |step| timings.duration_of(step).map(microseconds);
        tracing::warn!(
            method,
            route,
            request_id,
            trace_id,
            status,
            latency_us,
            tenant,
            acquire_us = duration_of(Step::Acquire),
            lookup_us = duration_of(Step::Lookup),
            query_us = duration_of(Step::Query),
            "slow request"
        );
    }

    fn end_trace(&self, status: u16) {
        if self.trace_span.is_disabled() {
            return;
        }
        self.trace_span
            .record("http.response.status_code", i64::from(status));
        if status >= 500 {
            self.trace_span.record("otel.status_code", "ERROR");
            self.trace_span.record("error.type", field::display(status));
        }
        if let Some(tenant) = self.database_work.timings.tenant() {
            self.trace_span.record("tenant", tenant.as_str());
        }
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        let latency = self.started_at.elapsed();
        let (status, label, problem) = match &self.outcome {
            Some((status, problem)) => (status.as_u16(), status.as_str(), *problem),
            None => (CLIENT_CLOSED_REQUEST.0, CLIENT_CLOSED_REQUEST.1, None),
        };
        let has_failed = status >= 500;
        self.database_work.has_failed.store(has_failed, Ordering::Relaxed);
        let metrics = &self.logger.metrics;
        metrics.end_request(&self.method, route_name(self.route.as_ref()), label, latency);
        match problem {
            Some(ProblemType::TenantOverloaded) => metrics.count_limited_request(),
            Some(ProblemType::Overloaded) => metrics.count_shed_request(),
            // Requests refused for overload have no line of their own: it would add to the load.
            _ => self.write_line(status, latency),
        }
        self.end_trace(status);
    }
}

fn route_name(route: Option<&MatchedPath>) -> &str {
    route.map_or(NO_ROUTE, MatchedPath::as_str)
}

fn server_timing_entry(name: &str, duration: Duration) -> String {
    let microseconds = duration.as_micros();
    format!("{name};dur={}.{:03}", microseconds / 1000, microseconds % 1000)
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
