//! The service that a layer surrounds.

use std::convert::Infallible;

use axum::extract::Request;
use axum::response::IntoResponse;
use tower::Service;

/// A service that a layer can surround.
pub(super) trait HttpService:
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
