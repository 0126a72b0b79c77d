//! Probes: whether the process lives, and whether it can answer.

use axum::extract::State;

use super::problem::Problem;
use crate::tenancy::Database;
use crate::users;

/// The process runs.
pub(super) async fn livez() -> &'static str {
    "live\n"
}

/// A connection answers, and `public.users` is there to be read.
pub(super) async fn readyz(State(database): State<Database>) -> Result<&'static str, Problem> {
    users::check(&database)
        .await
        .map_err(Problem::database_unavailable)?;
    Ok("ready\n")
}
