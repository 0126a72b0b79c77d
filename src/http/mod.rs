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
mod request_log;
mod uncancellable;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::handler::{Handler, HandlerService};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, Route, get};
use tokio::sync::Semaphore;
use tower::layer::layer_fn;
use tower::util::option_layer;
use tower::{Layer, Service, service_fn};
use tower_http::cors::CorsLayer;

use crate::authentication::Authenticator;
use crate::config::{CorsSettings, RequestSettings};
use crate::log_throttle::LogThrottle;
use crate::request_context::{RequestContext, RequestId, X_REQUEST_ID};
use crate::telemetry::Metrics;
use crate::users::UserDirectory;
use problem::Problem;
use problem_type::ProblemType;
use request_log::{RequestLog, RequestLogger};
use uncancellable::Uncancellable;

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
    let permits = settings.max_concurrent_requests.get().min(Semaphore::MAX_PERMITS);
    let api = ApiLayers {
        all: CommonLayers::new(Some((metrics.clone(), settings)), cors),
        authenticator: authenticator.clone(),
        limit: ConcurrencyLimit {
            permits: Arc::new(Semaphore::new(permits)),
            refused: Arc::default(),
            timeout: settings.request_timeout,
        },
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

async fn refuse_method() -> Problem {
    Problem::new(ProblemType::MethodNotAllowed)
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

/// The layers that all requests pass.
#[derive(Clone)]
struct CommonLayers {
    logger: Option<RequestLogger>,
    cors: Option<CorsLayer>,
}

impl CommonLayers {
    /// Without `logger`, requests are neither logged nor measured.
    fn new(logger: Option<(Metrics, &RequestSettings)>, cors: &CorsSettings) -> Self {
        Self {
            logger: logger.map(|(metrics, settings)| RequestLogger {
                metrics,
                settings: settings.clone(),
            }),
            cors: browser::cors_layer(cors),
        }
    }

    fn layer<S: HttpService<Response = Response>>(
        &self,
    ) -> impl Layer<S, Service: HttpService<Response = Response>> + Clone + Send + Sync + use<S> {
        let inner = (option_layer(self.cors.clone()), compression::layer());
        let logger = self.logger.clone();
        layer_fn(move |service: S| {
            let (service, logger) = (inner.layer(service), logger.clone());
            service_fn(move |request| respond(service.clone(), logger.clone(), request))
        })
    }
}

/// The layers of requests that need the database.
///
/// They surround each handler, not the router, which would cost a request several allocations for each layer.
struct ApiLayers {
    all: CommonLayers,
    authenticator: Option<Authenticator>,
    limit: ConcurrencyLimit,
}

impl ApiLayers {
    fn get<T: 'static>(&self, handler: impl Handler<T, UserDirectory>) -> MethodRouter<UserDirectory> {
        let limit = self.limit.clone();
        // Outside the limit: a request without a valid token takes no permit.
        let authentication = self.authenticator.clone().map(|authenticator| {
            from_fn_with_state((authenticator, limit.timeout), authentication::authenticate)
        });
        let handler = handler
            .layer(layer_fn(move |service| {
                let limit = limit.clone();
                service_fn(move |request| limit.clone().respond(HandlerService::clone(&service), request))
            }))
            .layer(option_layer(authentication))
            .layer(self.all.layer());
        get(handler).fallback(refuse_method.layer(self.all.layer()))
    }
}

/// What a layer surrounds.
trait HttpService:
    Service<Request, Response: IntoResponse, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> HttpService for S where
    S: Service<Request, Response: IntoResponse, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Handles a request with `service`: its id, its log, and the headers of its response.
async fn respond(
    mut service: impl HttpService,
    logger: Option<RequestLogger>,
    mut request: Request,
) -> Result<Response, Infallible> {
    let mut context = RequestContext {
        uri: request.uri().clone(),
        request_id: RequestId::from_headers(request.headers()),
        trace_id: None,
    };
    let log = logger.map(|logger| RequestLog::start(logger, &mut request, &mut context));
    compression::normalize(request.headers_mut());
    let request_id = context.request_id.clone();
    let handled = async {
        match host::check(&request) {
            Ok(()) => service.call(request).await.map(IntoResponse::into_response),
            Err(problem) => Ok(problem.into_response()),
        }
    };
    let mut response = context.scope(handled).await?;
    browser::add_security_headers(&mut response);
    response.headers_mut().insert(X_REQUEST_ID, request_id.into());
    if let Some(log) = log {
        log.finish(&mut response);
    }
    Ok(response)
}

/// Limits the number of concurrent requests, and the time of each.
#[derive(Clone)]
struct ConcurrencyLimit {
    permits: Arc<Semaphore>,
    refused: Arc<LogThrottle>,
    timeout: Duration,
}

impl ConcurrencyLimit {
    /// Handles a request, or refuses it immediately if it is beyond the limit. The log has the number of refused
    /// requests instead of a line for each.
    async fn respond(self, service: impl HttpService, request: Request) -> Result<Response, Infallible> {
        if let Ok(permit) = self.permits.try_acquire_owned() {
            return respond_in_time(self.timeout, permit, service, request).await;
        }
        if let Some(refused) = self.refused.hit() {
            tracing::warn!(refused, "refused requests beyond MAX_CONCURRENT_REQUESTS");
        }
        Ok(Problem::new(ProblemType::Overloaded).into_response())
    }
}

/// Handles a request, and cancels it after `timeout`. Holds the `permit` until then.
async fn respond_in_time(
    timeout: Duration,
    permit: impl Send + 'static,
    mut service: impl HttpService,
    request: Request,
) -> Result<Response, Infallible> {
    let work = async move {
        let in_time = tokio::time::timeout(timeout, service.call(request)).await;
        drop(permit);
        match in_time {
            Ok(response) => response.map(IntoResponse::into_response),
            Err(elapsed) => Ok(Problem::from_cause(ProblemType::Timeout, elapsed).into_response()),
        }
    };
    let finished = Uncancellable::new(work).await;
    finished.unwrap_or_else(|panic| Ok(Problem::from_cause(ProblemType::Internal, panic).into_response()))
}
