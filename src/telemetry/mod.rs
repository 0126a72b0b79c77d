//! What the service tells of itself to other programs: metrics, and traces where the feature `otel` is on.

mod busiest;
mod metrics;
#[cfg(target_os = "linux")]
mod process;
mod snapshot;
#[cfg(feature = "otel")]
pub(crate) mod traces;

pub use metrics::Metrics;
#[cfg(feature = "otel")]
pub use traces::Traces;
