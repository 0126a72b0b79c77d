//! Logs, metrics and traces.

#![expect(clippy::float_cmp, reason = "counts are whole numbers")]

mod dashboard;
mod exposition;
mod log;
mod metrics;
mod tenants;
#[cfg(feature = "otel")]
mod traces;
