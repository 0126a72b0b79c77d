//! `GET /metrics`.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::problem::Problem;
use super::problem_responses::MetricsProblems;
use super::problem_type::ProblemType;
use crate::telemetry::Metrics;

/// Metrics for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "probes",
    operation_id = "metrics",
    responses(
        (status = 200, description = "Prometheus text format", body = str, content_type = "text/plain",
            example = "tenant_orders_http_requests_in_flight 1\n"),
        MetricsProblems,
    ),
    security(())
)]
pub(super) async fn scrape(State(metrics): State<Metrics>) -> Result<impl IntoResponse, Problem> {
    let text = metrics
        .render()
        .map_err(|error| Problem::from_cause(ProblemType::Internal, error))?;
    Ok(([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], text))
}
