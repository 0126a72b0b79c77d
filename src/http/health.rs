//! Probes: `GET /livez` and `GET /readyz`.

use axum::extract::State;

use super::problem::Problem;
use super::problem_responses::{LivenessProblems, ReadinessProblems};
use super::problem_type::ProblemType;
use crate::users::UserDirectory;

/// Liveness probe
#[utoipa::path(
    get,
    path = "/livez",
    tag = "probes",
    operation_id = "liveness",
    responses((status = 200, description = "The process is running", body = str, content_type = "text/plain", example = "live\n"), LivenessProblems),
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
    responses((status = 200, description = "The service can handle requests", body = str, content_type = "text/plain", example = "ready\n"), ReadinessProblems),
    security(())
)]
pub(super) async fn readyz(State(users): State<UserDirectory>) -> Result<&'static str, Problem> {
    users
        .check()
        .await
        .map_err(|error| Problem::from_cause(ProblemType::DatabaseUnavailable, error))?;
    Ok("ready\n")
}
