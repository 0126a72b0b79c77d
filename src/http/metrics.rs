//! `GET /metrics`.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::problem::Problem;
use crate::telemetry::Metrics;

pub(super) async fn show(State(metrics): State<Metrics>) -> Result<impl IntoResponse, Problem> {
    let text = metrics.render().map_err(Problem::internal)?;
    Ok(([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], text))
}
