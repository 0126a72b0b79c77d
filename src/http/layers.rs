//! The layers around the handlers.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::Request;
use axum::handler::{Handler, HandlerService};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use tower::layer::layer_fn;
use tower::util::option_layer;
use tower::{Layer, service_fn};
use tower_http::cors::CorsLayer;

use super::limit::ConcurrencyLimit;
use super::problem::Problem;
use super::problem_type::ProblemType;
use super::request_log::{RequestLog, RequestLogger};
use super::service::HttpService;
use super::{authentication, browser, compression, host};
use crate::authentication::Authenticator;
use crate::config::{CorsSettings, RequestSettings};
use crate::request_context::{RequestContext, RequestId, X_REQUEST_ID};
use crate::telemetry::Metrics;
use crate::users::UserDirectory;

/// The layers that all requests pass.
pub(super) struct CommonLayers {
    logger: Option<RequestLogger>,
    cors: Option<CorsLayer>,
}

impl CommonLayers {
    /// Without `logger`, requests are neither logged nor measured.
    pub(super) fn new(logger: Option<(Metrics, &RequestSettings)>, cors: &CorsSettings) -> Self {
        Self {
            logger: logger.map(|(metrics, settings)| RequestLogger {
                metrics,
                settings: settings.clone(),
            }),
            cors: browser::cors_layer(cors),
        }
    }

    pub(super) fn layer<S: HttpService<Response = Response>>(
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
pub(super) struct ApiLayers {
    pub(super) all: CommonLayers,
    pub(super) authenticator: Option<Authenticator>,
    pub(super) limit: Arc<ConcurrencyLimit>,
}

impl ApiLayers {
    pub(super) fn get<T: 'static>(
        &self,
        handler: impl Handler<T, UserDirectory>,
    ) -> MethodRouter<UserDirectory> {
        let limit = Arc::clone(&self.limit);
        // Outside the limit: a request without a valid token takes no permit.
        let authentication = self.authenticator.clone().map(|authenticator| {
            from_fn_with_state((authenticator, limit.timeout()), authentication::authenticate)
        });
        let handler = handler
            .layer(layer_fn(move |service| {
                let limit = Arc::clone(&limit);
                service_fn(move |request| {
                    Arc::clone(&limit).respond(HandlerService::clone(&service), request)
                })
            }))
            .layer(option_layer(authentication))
            .layer(self.all.layer());
        get(handler).fallback(refuse_method.layer(self.all.layer()))
    }
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

/// Refuses a method that the path does not have.
pub(super) async fn refuse_method() -> Problem {
    Problem::new(ProblemType::MethodNotAllowed)
}
