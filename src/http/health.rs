//! Probes: whether the process lives, and whether it can answer.

use axum::extract::State;

use super::openapi::{LivenessProblems, ReadinessProblems};
use super::problem::Problem;
use crate::users::UserDirectory;

/// Whether the process runs
#[utoipa::path(
    get,
    path = "/livez",
    tag = "probes",
    operation_id = "liveness",
    responses((status = 200, description = "The process runs", body = str, content_type = "text/plain", example = "live\n"), LivenessProblems),
    security(())
)]
pub(super) async fn livez() -> &'static str {
    "live\n"
}

/// Whether a connection to the database answers, and the users can be read
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "probes",
    operation_id = "readiness",
    responses((status = 200, description = "Requests can be answered", body = str, content_type = "text/plain", example = "ready\n"), ReadinessProblems),
    security(())
)]
pub(super) async fn readyz(State(users): State<UserDirectory>) -> Result<&'static str, Problem> {
    users.check().await.map_err(Problem::database_unavailable)?;
    Ok("ready\n")
}
