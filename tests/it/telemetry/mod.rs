//! What the service tells of itself: logs, metrics and traces.

#![expect(clippy::float_cmp, reason = "what is counted is a whole number")]

mod dashboard;
mod exposition;
mod log;
mod metrics;
mod tenants;
#[cfg(feature = "otel")]
mod traces;
