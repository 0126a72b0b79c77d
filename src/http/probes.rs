//! Probes and metrics: `GET /livez`, `GET /readyz` and `GET /metrics`.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::problem::Problem;
use super::problem_type::ProblemType;
use crate::authentication::{AuthenticationError, Authenticator};
use crate::telemetry::Metrics;
use crate::users::UserDirectory;

/// Liveness probe
#[utoipa::path(
    get,
    path = "/livez",
    tag = "probes",
    operation_id = "liveness",
    responses((status = 200, description = "The process is running", body = str, content_type = "text/plain", example = "live\n")),
    security(())
)]
pub(super) async fn livez() -> &'static str {
    "live\n"
}

/// Readiness probe: a database connection works, the users table is readable, and there are keys for tokens
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "probes",
    operation_id = "readiness",
    responses((status = 200, description = "The service can handle requests", body = str, content_type = "text/plain", example = "ready\n")),
    security(())
)]
pub(super) async fn readyz(
    State((users, authenticator)): State<(UserDirectory, Option<Authenticator>)>,
) -> Result<&'static str, Problem> {
    if authenticator.is_some_and(|authenticator| !authenticator.has_keys()) {
        return Err(AuthenticationError::NoKeysYet.into());
    }
    users
        .check()
        .await
        .map_err(|error| Problem::from_cause(ProblemType::DatabaseUnavailable, error))?;
    Ok("ready\n")
}

/// Metrics for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "probes",
    operation_id = "metrics",
    responses((status = 200, description = "Prometheus text format", body = str, content_type = "text/plain",
        example = "tenant_orders_http_requests_in_flight 1\n")),
    security(())
)]
pub(super) async fn metrics(State(metrics): State<Metrics>) -> Result<impl IntoResponse, Problem> {
    let text = metrics
        .render()
        .map_err(|error| Problem::from_cause(ProblemType::Internal, error))?;
    Ok(([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], text))
}
