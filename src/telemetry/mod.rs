//! The log's queue, metrics for Prometheus and, with the feature `otel`, OpenTelemetry traces.

mod log_queue;
mod metrics;
mod snapshot;
mod top_tenants;
#[cfg(feature = "otel")]
pub(crate) mod traces;

pub(crate) use log_queue::LogQueue;
pub use metrics::Metrics;
#[cfg(feature = "otel")]
pub(crate) use traces::Traces;
