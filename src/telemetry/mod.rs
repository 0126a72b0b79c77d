//! Metrics for Prometheus and, with the feature `otel`, OpenTelemetry traces.

mod metrics;
mod snapshot;
mod top_tenants;
#[cfg(feature = "otel")]
pub(crate) mod traces;

pub use metrics::Metrics;
#[cfg(feature = "otel")]
pub use traces::Traces;
