//! The HTTP interface: routes, and the layers around them.
//!
//! To add an endpoint, write the handler and its `#[utoipa::path]` in a file here, add its route to [`router`], and
//! its name and problems to the API document in `openapi.rs`.

mod authentication;
mod browser;
mod compression;
mod extract;
mod host;
mod layers;
mod limit;
mod openapi;
mod orders;
mod page;
mod probes;
mod problem;
mod problem_type;
mod request_log;
mod service;
mod uncancellable;

use std::sync::Arc;

use axum::Router;
use axum::routing::{Route, get};
use tower::layer::layer_fn;
use tower::service_fn;

use crate::authentication::Authenticator;
use crate::config::{CorsSettings, RequestSettings};
use crate::telemetry::Metrics;
use crate::users::UserDirectory;
use layers::{ApiLayers, CommonLayers, refuse_method};
use limit::{ConcurrencyLimit, respond_in_time};
use problem::Problem;
use problem_type::ProblemType;

/// Returns the public routes; without `has_probes`, `admin_router` has the probes and metrics. Requests need a Tokio
/// runtime.
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
    let api = ApiLayers {
        all: CommonLayers::new(Some((metrics.clone(), settings)), cors),
        authenticator: authenticator.clone(),
        limit: Arc::new(ConcurrencyLimit::new(
            settings.max_concurrent_requests.get(),
            settings.request_timeout,
        )),
    };
    let others = if has_probes {
        probe_routes(users.clone(), metrics, settings, authenticator)
    } else {
        Router::new()
    };
    let others = with_fallbacks(others.merge(page::routes(has_probes)), &api.all);
    Router::new()
        .route("/users/{id}/orders", api.get(orders::list))
        .route("/users/{id}/orders/{order_id}", api.get(orders::find))
        .merge(others)
        .with_state(users)
}

/// Returns the routes of the port for administration: probes and metrics. `/readyz` checks the database of `users`.
pub(crate) fn admin_router(
    users: UserDirectory,
    metrics: Metrics,
    settings: &RequestSettings,
    authenticator: Option<Authenticator>,
) -> Router {
    let layers = CommonLayers::new(Some((metrics.clone(), settings)), &CorsSettings::default());
    with_fallbacks(probe_routes(users, metrics, settings, authenticator), &layers)
}

fn probe_routes<S: Clone + Send + Sync + 'static>(
    users: UserDirectory,
    metrics: Metrics,
    settings: &RequestSettings,
    authenticator: Option<Authenticator>,
) -> Router<S> {
    let timeout = settings.request_timeout;
    Router::new()
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz).with_state((users, authenticator)))
        .route("/metrics", get(probes::metrics).with_state(metrics))
        .layer(layer_fn(move |service: Route| {
            service_fn(move |request| respond_in_time(timeout, (), service.clone(), request))
        }))
}

fn with_fallbacks<S: Clone + Send + Sync + 'static>(router: Router<S>, layers: &CommonLayers) -> Router<S> {
    router
        .fallback(async || Problem::new(ProblemType::NotFound))
        .method_not_allowed_fallback(refuse_method)
        .layer(layers.layer())
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
    router.layer(CommonLayers::new(None, cors).layer())
}
