//! What is told of each request: the span that its log lines stand in, its one line, its metrics and its
//! trace.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use tower_http::request_id::RequestId;
use tracing::{Instrument, Span, field};

use super::{problem, request_id};
use crate::config::TRACE_TARGET;
use crate::telemetry::Metrics;
use crate::tenancy::{RequestTimings, Step};

/// The route of a request that goes to none.
const NO_ROUTE: &str = "-";
/// The client was gone before there was an answer. It is nginx's number for that.
const CLIENT_GONE: (u16, &str) = (499, "499");

/// Who watches requests.
#[derive(Clone)]
pub(super) struct Observer {
    pub(super) metrics: Metrics,
    /// A request that takes longer is warned of.
    pub(super) slow: Duration,
}

/// Tells of the request when it is answered, or when its client is gone.
pub(super) async fn observed<F: Future<Output = Response>>(
    observer: Observer,
    mut request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route_name = route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    let trace_span = trace_span(&request, route_name);
    #[cfg(feature = "otel")]
    let trace_id = crate::telemetry::traces::continue_trace(&trace_span, request.headers());
    #[cfg(not(feature = "otel"))]
    let trace_id: Option<String> = None;
    let log_span = log_span(&request, route_name, trace_id.as_deref());
    let request_id = request.extensions().get::<RequestId>().cloned();
    let mut observation =
        Observation::begin(observer, request.method().clone(), route, request_id, trace_span);
    request.extensions_mut().insert(Arc::clone(&observation.work));
    async move {
        let response = answer(request).await;
        observation.answered(&response);
        response
    }
    .instrument(log_span)
    .await
}

/// What all log lines of a request have in common, where more than failures is logged: it takes longer to make
/// than all else that is told of a request.
fn log_span(request: &Request, route: &str, trace_id: Option<&str>) -> Span {
    let request_id = request_id::text(request.extensions().get());
    tracing::info_span!("request", method = %request.method(), route, request_id, trace_id)
}

/// By the semantic conventions for HTTP servers (OpenTelemetry, version 1.33), but for the path, which
/// holds a user's id.
fn trace_span(request: &Request, route: &str) -> Span {
    tracing::info_span!(
        target: TRACE_TARGET,
        "request",
        otel.name = format_args!("{} {route}", request.method()),
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = request.method().as_str(),
        http.route = route,
        http.response.status_code = field::Empty,
        url.scheme = "http",
        "error.type" = field::Empty,
        tenant = field::Empty,
    )
}

/// What a request does at the database. Its client may be gone while that still goes on: it is measured
/// when all is done.
pub(super) struct DatabaseWork {
    pub(super) trace: RequestTimings,
    failed: AtomicBool,
    metrics: Metrics,
}

impl Drop for DatabaseWork {
    fn drop(&mut self) {
        self.metrics.observe_database(&self.trace, *self.failed.get_mut());
    }
}

/// A request from its beginning until it is dropped, which is when it is told of.
struct Observation {
    observer: Observer,
    method: Method,
    route: Option<MatchedPath>,
    request_id: Option<RequestId>,
    started: Instant,
    work: Arc<DatabaseWork>,
    trace_span: Span,
    /// The status, and whether it was refused because there is too much to do.
    answer: Option<(StatusCode, bool)>,
}

impl Observation {
    fn begin(
        observer: Observer,
        method: Method,
        route: Option<MatchedPath>,
        request_id: Option<RequestId>,
        trace_span: Span,
    ) -> Self {
        observer.metrics.begin_request();
        Self {
            work: Arc::new(DatabaseWork {
                trace: RequestTimings::with_span(trace_span.clone()),
                failed: AtomicBool::new(false),
                metrics: observer.metrics.clone(),
            }),
            observer,
            method,
            route,
            request_id,
            started: Instant::now(),
            trace_span,
            answer: None,
        }
    }

    fn answered(&mut self, response: &Response) {
        self.answer = Some((response.status(), problem::is_shed(response)));
    }

    fn log(&self, status: u16, took: Duration) {
        let trace = &self.work.trace;
        let tenant = trace.tenant();
        let tenant = tenant.as_ref().map(|tenant| tenant.as_str());
        let latency_us = microseconds(took);
        if took <= self.observer.slow {
            tracing::info!(status, latency_us, tenant, "answered");
            return;
        }
        let duration_of = |step| trace.duration_of(step).map(microseconds);
        tracing::warn!(
            status,
            latency_us,
            tenant,
            acquire_us = duration_of(Step::Acquire),
            lookup_us = duration_of(Step::Lookup),
            query_us = duration_of(Step::Query),
            request_id = request_id::without_span(self.request_id.as_ref()),
            "answered slowly"
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
        if let Some(tenant) = self.work.trace.tenant() {
            self.trace_span.record("tenant", tenant.as_str());
        }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let (status, label, is_shed) = match &self.answer {
            Some((status, is_shed)) => (status.as_u16(), status.as_str(), *is_shed),
            None => (CLIENT_GONE.0, CLIENT_GONE.1, false),
        };
        self.work.failed.store(status >= 500, Ordering::Relaxed);
        let metrics = &self.observer.metrics;
        let route = self.route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
        metrics.end_request(&self.method, route, label, took);
        if status == StatusCode::TOO_MANY_REQUESTS {
            metrics.count_limited_request();
        } else if is_shed {
            metrics.count_shed_request();
        }
        // Of those that are shed, a line for each would be one more load: the log has their number.
        if !is_shed {
            self.log(status, took);
        }
        self.end_trace(status);
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
