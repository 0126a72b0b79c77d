//! Settings of the connection pool.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::RoleSettings;
use super::defaults::parse_defaults;
use super::duration::parse_duration as duration;

/// Settings of the connection pool, and limits of its use.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connections")]
pub struct PoolSettings {
    /// Maximum connections in the pool; by default twice the number of cores, at least 4
    #[arg(long, env, value_name = "N", default_value_t = default_max_connections(),
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub database_max_connections: u32,

    /// Maximum prepared statements per connection; each tenant needs one or two. Not used behind a
    /// transaction pooler
    #[arg(long, env, value_name = "N", default_value_t = 512)]
    pub database_statement_cache: usize,

    /// Maximum cached pairs of user and tenant, which save a lookup; 0 disables the cache
    #[arg(long, env, value_name = "N", default_value_t = 100_000)]
    pub tenant_cache_size: usize,

    /// Connection pooler between the service and PostgreSQL
    #[arg(long, env, value_name = "KIND", value_enum, default_value_t)]
    pub database_pooler: Pooler,

    /// Maximum connections of one tenant; further requests wait up to the acquire timeout, then get 429
    /// [default: half of the pool, at least 2]
    #[arg(long, env, value_name = "N")]
    pub tenant_max_concurrent_requests: Option<NonZeroUsize>,

    /// Maximum waiting requests of one tenant; further requests get 429 at once
    #[arg(long, env, value_name = "N", default_value_t = 256)]
    pub tenant_max_waiting_requests: usize,

    /// Maximum time that a request waits for a connection
    #[arg(long, env, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub acquire_timeout: Duration,

    /// Maximum duration of one statement
    #[arg(long, env, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub statement_timeout: Duration,

    /// Settings of tenant roles.
    #[command(flatten)]
    pub roles: RoleSettings,
}

impl PoolSettings {
    /// Returns the maximum connections of one tenant.
    pub(crate) fn tenant_share(&self) -> usize {
        let half = usize::try_from(self.database_max_connections / 2).unwrap_or(usize::MAX);
        self.tenant_max_concurrent_requests
            .map_or(half.max(2), NonZeroUsize::get)
    }
}

impl Default for PoolSettings {
    fn default() -> Self {
        parse_defaults()
    }
}

/// Connection pooler between the service and PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Pooler {
    /// No pooler, or one that assigns a server connection to each client connection
    #[default]
    None,
    /// A transaction pooler, such as PgBouncer: each transaction can get another server connection
    Transaction,
}

fn default_max_connections() -> u32 {
    let cores = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    u32::try_from(cores * 2).unwrap_or(u32::MAX).max(4)
}
