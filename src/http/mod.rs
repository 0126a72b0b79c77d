//! The HTTP edge: routes, and what every request passes through.

mod extract;
mod health;
mod orders;
mod problem;
mod request_id;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use tokio::sync::Semaphore;
use tower_http::LatencyUnit;
use tower_http::request_id::RequestId;
use tower_http::trace::{DefaultOnResponse, TraceLayer};
use tracing::{Instrument, Level, Span};

use crate::config::RequestSettings;
use crate::tenancy::Database;
use problem::Problem;

/// All routes, over `database`. Requests run as tasks: this needs a Tokio runtime.
///
/// Probes are exempt from the limit on requests at once: they must answer when nothing else does.
pub fn router(database: Database, settings: &RequestSettings) -> Router {
    let permits = settings.max_concurrent_requests.get().min(Semaphore::MAX_PERMITS);
    let timed = from_fn_with_state(settings.request_timeout, timed);
    let limited = from_fn_with_state(Arc::new(Semaphore::new(permits)), limited);
    let probes = Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .layer(timed.clone());
    let api = Router::new()
        .route("/users/{id}/orders", get(orders::list))
        .layer(timed)
        .layer(limited);
    // The last layer is the outermost. Problems are completed inside the task too, so that one behind
    // a client who hung up is logged.
    let router = Router::new()
        .merge(api)
        .merge(probes)
        .layer(from_fn(problem::complete))
        .layer(from_fn(in_a_task_of_its_own))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(database)
        .layer(from_fn(problem::complete))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(request_span)
                .on_request(())
                .on_response(
                    DefaultOnResponse::new()
                        .level(Level::INFO)
                        .latency_unit(LatencyUnit::Micros),
                )
                .on_failure(()),
        );
    request_id::layered(router)
}

/// All that a client gets whose connection is one too many: `503 overloaded`, whatever it asks for.
/// Only `/livez` answers as ever: a service that has much to do lives, and to restart it would cost
/// the others their answers.
///
/// Nothing is logged here: a line for each would be one more load. Who turns clients away tells how
/// many they were.
pub fn turned_away() -> Router {
    let router = Router::new()
        .route("/livez", get(health::livez))
        .fallback(async || Problem::too_many_connections())
        .method_not_allowed_fallback(async || Problem::too_many_connections())
        .layer(from_fn(problem::complete));
    request_id::layered(router)
}

/// Runs the request in a task of its own, so that a client who hangs up cancels nothing half-way:
/// a cancelled database section costs its connection.
async fn in_a_task_of_its_own(request: Request, next: Next) -> Result<Response, Problem> {
    tokio::spawn(next.run(request).instrument(Span::current()))
        .await
        .map_err(Problem::internal)
}

/// Refuses at once what is too much.
async fn limited(
    State(permits): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let _permit = permits.try_acquire().map_err(|_| Problem::overloaded())?;
    Ok(next.run(request).await)
}

/// Cancels what takes too long.
async fn timed(State(timeout): State<Duration>, request: Request, next: Next) -> Result<Response, Problem> {
    tokio::time::timeout(timeout, next.run(request))
        .await
        .map_err(Problem::timeout)
}

fn request_span(request: &Request) -> Span {
    let extensions = request.extensions();
    let route = extensions.get::<MatchedPath>().map_or("-", MatchedPath::as_str);
    let request_id = extensions
        .get::<RequestId>()
        .and_then(|id| id.header_value().to_str().ok())
        .unwrap_or_default();
    tracing::info_span!("request", method = %request.method(), route, request_id)
}
