//! Metrics settings.

use clap::Args;

/// Metrics settings.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Metrics")]
pub struct MetricsSettings {
    /// Maximum number of tenants with metrics of their own; all others share one series
    #[arg(long, env = "METRICS_TENANTS", value_name = "N", default_value = "20",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=1000))]
    pub metrics_tenants: usize,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self { metrics_tenants: 20 }
    }
}
