//! Where the service listens, what a request may take, and how it stops.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;

use super::duration::duration;
use super::{AuthenticationSettings, CorsSettings, DatabaseSettings, PoolSettings};

/// What a request may take.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Service")]
pub struct RequestSettings {
    /// How long a request may take before it is answered 504
    #[arg(long, env = "REQUEST_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub request_timeout: Duration,

    /// Requests at work at once; more are answered 503
    #[arg(
        long,
        env = "MAX_CONCURRENT_REQUESTS",
        value_name = "N",
        default_value = "1024"
    )]
    pub max_concurrent_requests: NonZeroUsize,
}

/// Where the service listens and how it stops.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Service")]
pub struct ServeSettings {
    /// The address or name to listen on
    #[arg(long, env = "HOST", value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: String,

    /// The port to listen on; 0 takes a free one
    #[arg(long, env = "PORT", value_name = "PORT", default_value_t = 8080)]
    pub port: u16,

    /// Listen beyond loopback though nobody is asked for a token, as behind a gateway that asks
    #[arg(long, env = "ALLOW_UNAUTHENTICATED", value_name = "WHETHER", default_value = "false",
          num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = whether)]
    pub allow_unauthenticated: bool,

    /// What a request may take.
    #[command(flatten)]
    pub request: RequestSettings,

    /// Clients connected at once; more are answered 503. Lowered where the limit of open files is
    #[arg(
        long,
        env = "MAX_CLIENT_CONNECTIONS",
        value_name = "N",
        default_value = "4096"
    )]
    pub max_client_connections: NonZeroUsize,

    /// How long a stop waits for requests under way
    #[arg(long, env = "SHUTDOWN_TIMEOUT", value_name = "DURATION", default_value = "20s", value_parser = duration)]
    pub shutdown_timeout: Duration,

    /// Which web pages may read answers.
    #[command(flatten)]
    pub cors: CorsSettings,

    /// By which tokens requests are let in.
    #[command(flatten)]
    pub authentication: AuthenticationSettings,

    /// Where the database is.
    #[command(flatten)]
    pub database: DatabaseSettings,

    /// How connections to it are made and kept.
    #[command(flatten)]
    pub pool: PoolSettings,
}

/// What grants more than is safe is granted by its one spelling. An empty text counts as unset.
fn whether(text: &str) -> Result<bool, &'static str> {
    match text {
        "true" => Ok(true),
        "false" | "" => Ok(false),
        _ => Err("write true or false"),
    }
}
