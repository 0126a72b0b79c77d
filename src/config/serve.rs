//! Settings of `serve`: addresses, limits, metrics and shutdown.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::defaults::parse_defaults;
use super::duration::parse_duration;
use super::{AuthenticationSettings, CorsSettings, DatabaseSettings, PoolSettings};

/// Limits of a request.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Service")]
pub struct RequestSettings {
    /// Maximum duration of a request, which then gets 504
    #[arg(long, env, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub request_timeout: Duration,

    /// Maximum concurrent requests; further requests get 503
    #[arg(long, env, value_name = "N", default_value = "1024")]
    pub max_concurrent_requests: NonZeroUsize,

    /// Duration above which a request is logged as a warning, with the duration of each step
    #[arg(long, env, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub slow_request_threshold: Duration,

    /// Add the header Server-Timing with the duration of each database step to responses
    #[arg(long, env, value_name = "BOOL", default_value = "false", action = ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub server_timing: bool,
}

/// Addresses to listen on.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Service")]
pub(crate) struct ListenSettings {
    /// Address or host name to listen on
    #[arg(long, env, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) host: String,

    /// Port to listen on; 0 picks a free port
    #[arg(long, env, value_name = "PORT", default_value_t = 8080)]
    pub(crate) port: u16,

    /// Separate port for /metrics, /livez and /readyz, which then leave the public port [default: none]
    #[arg(long, env, value_name = "PORT")]
    pub(crate) admin_port: Option<u16>,

    /// Address or host name of the separate port [default: the same as HOST]
    #[arg(long, env, value_name = "ADDRESS", requires = "admin_port")]
    admin_host: Option<String>,
}

impl ListenSettings {
    /// Returns the host and the port for probes and metrics, if they have a port of their own.
    pub(crate) fn admin_address(&self) -> Option<(&str, u16)> {
        let port = self.admin_port?;
        Some((self.admin_host.as_deref().unwrap_or(&self.host), port))
    }

    /// Returns `true` if both ports are the same and on the same host.
    pub(crate) fn has_port_conflict(&self) -> bool {
        self.port != 0 && self.admin_address() == Some((&self.host, self.port))
    }

    /// Returns the host and the port at which a client on this machine reaches the probes.
    pub(crate) fn probe_address(&self) -> (&str, u16) {
        let (host, port) = self.admin_address().unwrap_or((&self.host, self.port));
        match host {
            "0.0.0.0" | "::" => ("127.0.0.1", port),
            host => (host, port),
        }
    }
}

/// Metrics settings.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Metrics")]
pub struct MetricsSettings {
    /// Maximum number of tenants with metrics of their own; all others share one series
    #[arg(long, env, value_name = "N", default_value = "20",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=1000))]
    pub metrics_tenants: usize,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        parse_defaults()
    }
}

/// Settings of `serve`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Service")]
pub struct ServeSettings {
    #[command(flatten)]
    pub(crate) listen: ListenSettings,

    /// Accept requests from other hosts without tokens, because a gateway in front authenticates them
    #[arg(long, env, value_name = "BOOL", default_value = "false", action = ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) allow_unauthenticated: bool,

    #[command(flatten)]
    pub(crate) request: RequestSettings,

    /// Maximum client connections; further clients get 503. Reduced to fit the open-file limit
    #[arg(long, env, value_name = "N", default_value = "4096")]
    pub(crate) max_client_connections: NonZeroUsize,

    /// Maximum idle time of a client connection, and maximum time for a request head to arrive. Must be longer than
    /// the idle timeout of a proxy, so that the proxy closes its connections first
    #[arg(long, env, value_name = "DURATION", default_value = "75s", value_parser = parse_duration)]
    pub(crate) client_idle_timeout: Duration,

    /// Maximum wait for in-flight requests on shutdown
    #[arg(long, env, value_name = "DURATION", default_value = "20s", value_parser = parse_duration)]
    pub(crate) shutdown_timeout: Duration,

    #[command(flatten)]
    pub(crate) cors: CorsSettings,

    #[command(flatten)]
    pub(crate) authentication: AuthenticationSettings,

    #[command(flatten)]
    pub(crate) database: DatabaseSettings,

    #[command(flatten)]
    pub(crate) pool: PoolSettings,

    #[command(flatten)]
    pub(crate) metrics: MetricsSettings,
}
