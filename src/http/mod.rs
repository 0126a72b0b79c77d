//! The HTTP edge: routes, and what every request passes through.

mod authentication;
mod browser;
mod extract;
mod health;
mod metrics;
mod observe;
mod openapi;
mod orders;
mod page;
mod problem;
mod problem_type;
mod request_id;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;
use tracing::{Instrument, Span};

use crate::authentication::Authenticator;
use crate::config::{CorsSettings, RequestSettings};
use crate::log_throttle::LogThrottle;
use crate::telemetry::Metrics;
use crate::users::UserDirectory;
use observe::{Observer, observed};
use problem::{Occurrence, Problem};

/// All routes, over the database of `users`. What goes on is counted in `metrics`. Requests run as tasks: this needs a
/// Tokio runtime.
///
/// Probes and metrics are exempt from the limit on requests at once: they must answer when nothing else
/// does. So are the page and the document of the API, which cost nothing. All these are also exempt from
/// authentication; with no `authenticator`, so is all else.
pub fn router(
    users: UserDirectory,
    metrics: Metrics,
    settings: &RequestSettings,
    authenticator: Option<Authenticator>,
    cors: &CorsSettings,
) -> Router {
    let permits = settings.max_concurrent_requests.get().min(Semaphore::MAX_PERMITS);
    let limit = Limit {
        permits: Arc::new(Semaphore::new(permits)),
        refused: Arc::default(),
        timeout: settings.request_timeout,
    };
    let observer = Observer {
        metrics: metrics.clone(),
        slow: settings.slow_request_threshold,
    };
    let probes = Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::show).with_state(metrics))
        .layer(from_fn_with_state(settings.request_timeout, unlimited));
    let api = Router::new()
        .route("/users/{id}/orders", get(orders::list))
        .layer(from_fn_with_state(limit, limited));
    // Outermost: who may not ask takes nothing from the others.
    let api = match authenticator {
        None => api,
        Some(authenticator) => api.layer(from_fn_with_state(authenticator, authentication::authenticated)),
    };
    let router = Router::new()
        .merge(api)
        .merge(probes)
        .merge(page::routes())
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(users);
    browser::cross_origin(router, cors).layer(from_fn_with_state(Some(observer), at_the_edge))
}

/// All that a client gets whose connection is one too many: `503 overloaded`, whatever it asks for.
/// Only `/livez` answers as ever: a service that has much to do lives, and to restart it would cost
/// the others their answers.
///
/// Nothing is logged here: a line for each would be one more load. Who turns clients away tells how
/// many they were.
pub fn turned_away(cors: &CorsSettings) -> Router {
    let router = Router::new()
        .route("/livez", get(health::livez))
        .fallback(async || Problem::too_many_connections())
        .method_not_allowed_fallback(async || Problem::too_many_connections());
    browser::cross_origin(router, cors).layer(from_fn_with_state(None, at_the_edge))
}

/// What all requests pass through, and all answers. One layer, as each costs a request some allocations.
async fn at_the_edge(State(observer): State<Option<Observer>>, mut request: Request, next: Next) -> Response {
    request_id::identify(&mut request);
    let answer = async |request| {
        let occurrence = Occurrence::of(&request);
        let mut response = occurrence.complete(next.run(request).await);
        browser::add_headers(&mut response);
        request_id::answer(occurrence.request_id(), &mut response);
        response
    };
    match observer {
        Some(observer) => observed(observer, request, answer).await,
        None => answer(request).await,
    }
}

/// How much is taken on at once, and how long each may take.
#[derive(Clone)]
struct Limit {
    permits: Arc<Semaphore>,
    refused: Arc<LogThrottle>,
    timeout: Duration,
}

/// Refuses at once what is too much. The log tells how much that was, not of each: it would be one
/// more load.
async fn limited(State(limit): State<Limit>, request: Request, next: Next) -> Result<Response, Problem> {
    let Ok(permit) = limit.permits.try_acquire_owned() else {
        if let Some(refused) = limit.refused.hit() {
            tracing::warn!(
                refused,
                "more requests at once than MAX_CONCURRENT_REQUESTS: some are refused"
            );
        }
        return Err(Problem::overloaded());
    };
    in_a_task_of_its_own(limit.timeout, request, next, permit).await
}

async fn unlimited(
    State(timeout): State<Duration>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    in_a_task_of_its_own(timeout, request, next, ()).await
}

/// Runs the request in a task, so that a client who hangs up cancels nothing half-way: a cancelled
/// database section costs its connection. What takes longer than `timeout` is cancelled. What is `held` is
/// held until the work is done.
///
/// A problem is completed inside the task, so that one behind a client who hung up is logged.
async fn in_a_task_of_its_own(
    timeout: Duration,
    request: Request,
    next: Next,
    held: impl Send + 'static,
) -> Result<Response, Problem> {
    let work = async move {
        let occurrence = Occurrence::of(&request);
        let response = tokio::time::timeout(timeout, next.run(request))
            .await
            .unwrap_or_else(|elapsed| Problem::timeout(elapsed).into_response());
        drop(held);
        occurrence.complete(response)
    };
    tokio::spawn(work.instrument(Span::current()))
        .await
        .map_err(Problem::internal)
}
