//! The HTTP interface: routes, and the layers around them.
//!
//! To add an endpoint, write the handler and its `#[utoipa::path]` in a file here, add its route to [`router`], and
//! its name and problems to the API document in `openapi.rs`.

mod authentication;
mod browser;
mod compression;
mod extract;
mod host;
mod openapi;
mod orders;
mod page;
mod probes;
mod problem;
mod problem_type;
mod request_id;
mod request_log;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;
use tower_http::request_id::RequestId;
use tracing::{Instrument, Span};

use crate::authentication::Authenticator;
use crate::config::{CorsSettings, RequestSettings};
use crate::log_throttle::LogThrottle;
use crate::telemetry::Metrics;
use crate::users::UserDirectory;
use problem::{Problem, ProblemContext};
use problem_type::ProblemType;
use request_log::{RequestLogger, log_request};

/// Returns the public routes; without `has_probes`, `admin_router` has the probes and metrics. Requests run as
/// tasks, which requires a Tokio runtime.
///
/// Probes, metrics, page and API document need no token and do not count against the limit of concurrent
/// requests. Without an `authenticator`, no endpoint needs a token.
pub fn router(
    users: UserDirectory,
    metrics: Metrics,
    settings: &RequestSettings,
    authenticator: Option<Authenticator>,
    cors: &CorsSettings,
    has_probes: bool,
) -> Router {
    let permits = settings.max_concurrent_requests.get().min(Semaphore::MAX_PERMITS);
    let limit = ConcurrencyLimit {
        permits: Arc::new(Semaphore::new(permits)),
        refused: Arc::default(),
        timeout: settings.request_timeout,
    };
    let logger = RequestLogger {
        metrics: metrics.clone(),
        settings: settings.clone(),
    };
    let probes = if has_probes {
        probe_routes(users.clone(), metrics, settings, authenticator.clone())
    } else {
        Router::new()
    };
    let api = Router::new()
        .route("/users/{id}/orders", get(orders::list))
        .route("/users/{id}/orders/{order_id}", get(orders::find))
        .layer(from_fn_with_state(limit, limit_concurrency));
    // Outside the limit: a request without a valid token takes no permit.
    let api = match authenticator {
        None => api,
        Some(authenticator) => {
            let state = (authenticator, settings.request_timeout);
            api.layer(from_fn_with_state(state, authentication::authenticate))
        }
    };
    let router = Router::new()
        .merge(api)
        .merge(probes)
        .merge(page::routes(has_probes));
    with_layers(with_fallbacks(router).with_state(users), Some(logger), cors)
}

/// Returns the routes of the port for administration: probes and metrics. `/readyz` checks the database of `users`.
pub(crate) fn admin_router(
    users: UserDirectory,
    metrics: Metrics,
    settings: &RequestSettings,
    authenticator: Option<Authenticator>,
) -> Router {
    let logger = RequestLogger {
        metrics: metrics.clone(),
        settings: settings.clone(),
    };
    let router = with_fallbacks(probe_routes(users, metrics, settings, authenticator));
    with_layers(router, Some(logger), &CorsSettings::default())
}

/// Adds the layers that all requests pass. They are added together, because each call of `layer` costs every request
/// some allocations and copies.
fn with_layers(router: Router, logger: Option<RequestLogger>, cors: &CorsSettings) -> Router {
    let context = from_fn_with_state(logger, request_context);
    match browser::cors_layer(cors) {
        None => router.layer((context, compression::layer())),
        Some(cors) => router.layer((context, cors, compression::layer())),
    }
}

fn probe_routes<S: Clone + Send + Sync + 'static>(
    users: UserDirectory,
    metrics: Metrics,
    settings: &RequestSettings,
    authenticator: Option<Authenticator>,
) -> Router<S> {
    Router::new()
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz).with_state((users, authenticator)))
        .route("/metrics", get(probes::metrics).with_state(metrics))
        .layer(from_fn_with_state(settings.request_timeout, limit_time))
}

fn with_fallbacks<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(async || Problem::new(ProblemType::NotFound))
        .method_not_allowed_fallback(async || Problem::new(ProblemType::MethodNotAllowed))
}

/// Returns the routes for connections beyond the limit: `503 overloaded` for every path but `/livez`, which exists if
/// `has_probes`.
///
/// An overloaded service is alive, and a restart would cost the other clients their responses. The requests
/// are not logged, which would add to the load. The caller logs the number of connections.
pub(crate) fn overloaded_router(cors: &CorsSettings, has_probes: bool) -> Router {
    let refuse = async || {
        Problem::new(ProblemType::Overloaded)
            .with_detail("The service has reached its maximum number of connections. Try again shortly.")
    };
    let probes = if has_probes {
        Router::new().route("/livez", get(probes::livez))
    } else {
        Router::new()
    };
    let router = probes.fallback(refuse).method_not_allowed_fallback(refuse);
    with_layers(router, None, cors)
}

/// Surrounds every request: its id, its log, and the headers of its response. It is one layer because each
/// layer costs a request some allocations.
async fn request_context(
    State(logger): State<Option<RequestLogger>>,
    mut request: Request,
    next: Next,
) -> Response {
    request_id::assign(&mut request);
    compression::normalize(request.headers_mut());
    let respond = async |request: Request| {
        let request_id = request.extensions().get::<RequestId>().cloned();
        let context = ProblemContext::from_request(&request);
        let handled = async {
            match host::check(&request) {
                Ok(()) => next.run(request).await,
                Err(problem) => problem.into_response(),
            }
        };
        let mut response = context.scope(handled).await;
        browser::add_security_headers(&mut response);
        request_id::set_header(&mut response, request_id.as_ref());
        response
    };
    match logger {
        Some(logger) => log_request(logger, request, respond).await,
        None => respond(request).await,
    }
}

#[derive(Clone)]
struct ConcurrencyLimit {
    permits: Arc<Semaphore>,
    refused: Arc<LogThrottle>,
    timeout: Duration,
}

/// Refuses requests beyond the limit immediately. The log has their number instead of a line for each.
async fn limit_concurrency(
    State(limit): State<ConcurrencyLimit>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Ok(permit) = limit.permits.try_acquire_owned() else {
        if let Some(refused) = limit.refused.hit() {
            tracing::warn!(refused, "refused requests beyond MAX_CONCURRENT_REQUESTS");
        }
        return Err(Problem::new(ProblemType::Overloaded));
    };
    spawn_request(limit.timeout, request, next, permit).await
}

async fn limit_time(
    State(timeout): State<Duration>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    spawn_request(timeout, request, next, ()).await
}

/// Runs the request in its own task and cancels it after `timeout`. The task holds the `permit` until it
/// ends.
///
/// If the client disconnects, the task continues: cancelling database work halfway would cost its
/// connection.
async fn spawn_request(
    timeout: Duration,
    request: Request,
    next: Next,
    permit: impl Send + 'static,
) -> Result<Response, Problem> {
    let context = ProblemContext::from_request(&request);
    let work = async move {
        let response = tokio::time::timeout(timeout, next.run(request))
            .await
            .map_err(|elapsed| Problem::from_cause(ProblemType::Timeout, elapsed))
            .into_response();
        drop(permit);
        response
    };
    tokio::spawn(context.scope(work).instrument(Span::current()))
        .await
        .map_err(|panic| Problem::from_cause(ProblemType::Internal, panic))
}
