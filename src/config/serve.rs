//! Settings of `serve`: address, limits and shutdown.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::duration::parse_duration;
use super::{
    AuthenticationSettings, CorsSettings, DatabaseSettings, ListenSettings, MetricsSettings, PoolSettings,
};

/// Limits of a request.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Service")]
pub struct RequestSettings {
    /// Maximum duration of a request, which then gets 504
    #[arg(long, env = "REQUEST_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub request_timeout: Duration,

    /// Maximum concurrent requests; further requests get 503
    #[arg(
        long,
        env = "MAX_CONCURRENT_REQUESTS",
        value_name = "N",
        default_value = "1024"
    )]
    pub max_concurrent_requests: NonZeroUsize,

    /// Duration above which a request is logged as a warning, with the duration of each step
    #[arg(long, env = "SLOW_REQUEST_THRESHOLD", value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub slow_request_threshold: Duration,

    /// Add the header Server-Timing with the duration of each database step to responses
    #[arg(long, env = "SERVER_TIMING", value_name = "BOOL", default_value = "false", action = ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub server_timing: bool,
}

/// Settings of `serve`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Service")]
pub struct ServeSettings {
    /// Addresses to listen on.
    #[command(flatten)]
    pub listen: ListenSettings,

    /// Accept requests from other hosts without tokens, because a gateway in front authenticates them
    #[arg(long, env = "ALLOW_UNAUTHENTICATED", value_name = "BOOL", default_value = "false", action = ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub allow_unauthenticated: bool,

    /// Limits of a request.
    #[command(flatten)]
    pub request: RequestSettings,

    /// Maximum client connections; further clients get 503. Reduced to fit the open-file limit
    #[arg(
        long,
        env = "MAX_CLIENT_CONNECTIONS",
        value_name = "N",
        default_value = "4096"
    )]
    pub max_client_connections: NonZeroUsize,

    /// Maximum idle time of a client connection, and maximum time for a request head to arrive. Must be longer than
    /// the idle timeout of a proxy, so that the proxy closes its connections first
    #[arg(long, env = "CLIENT_IDLE_TIMEOUT", value_name = "DURATION", default_value = "75s", value_parser = parse_duration)]
    pub client_idle_timeout: Duration,

    /// Maximum wait for in-flight requests on shutdown
    #[arg(long, env = "SHUTDOWN_TIMEOUT", value_name = "DURATION", default_value = "20s", value_parser = parse_duration)]
    pub shutdown_timeout: Duration,

    /// Cross-origin access.
    #[command(flatten)]
    pub cors: CorsSettings,

    /// Authentication by tokens.
    #[command(flatten)]
    pub authentication: AuthenticationSettings,

    /// Address of the database.
    #[command(flatten)]
    pub database: DatabaseSettings,

    /// Connection pool.
    #[command(flatten)]
    pub pool: PoolSettings,

    /// Metrics.
    #[command(flatten)]
    pub metrics: MetricsSettings,
}
