//! Every setting: its flag, its environment variable, its default and its check.

#![expect(clippy::disallowed_methods, reason = "the one reader of the environment")]

use std::fmt;
use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Settings are written in days at most; far below what any timer or PostgreSQL's own limits hold.
const LONGEST_DURATION: Duration = Duration::from_hours(24);

/// Where the database is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// The PostgreSQL database to use. Without one, an embedded PostgreSQL is started
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<DatabaseUrl>,

    /// Where the embedded PostgreSQL keeps its data [default: the platform's data folder]
    #[arg(long, env = "DATA_DIR", value_name = "FOLDER", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    data_dir: Option<PathBuf>,
}

impl DatabaseSettings {
    /// The database to use, where one is named. An empty variable counts as none.
    #[must_use]
    pub fn url(&self) -> Option<&DatabaseUrl> {
        self.database_url.as_ref().filter(|url| !url.0.is_empty())
    }

    /// Where the embedded cluster is to live, where the user says so. An empty variable counts as
    /// unset.
    #[must_use]
    pub fn data_dir(&self) -> Option<&Path> {
        self.data_dir
            .as_deref()
            .filter(|path| !path.as_os_str().is_empty())
    }
}

/// How connections to the database are made and kept.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connections")]
pub struct PoolSettings {
    /// Connections in the pool; by default twice the cores, at least 4
    #[arg(long, env = "DATABASE_MAX_CONNECTIONS", value_name = "N", default_value_t = default_max_connections(),
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub database_max_connections: u32,

    /// Prepared statements that a connection keeps; each tenant takes one or two. None behind a
    /// pooler
    #[arg(
        long,
        env = "DATABASE_STATEMENT_CACHE",
        value_name = "N",
        default_value_t = 512
    )]
    pub database_statement_cache: usize,

    /// Users whose tenant is remembered, which saves a look-up; 0 for none
    #[arg(long, env = "TENANT_HINTS", value_name = "N", default_value_t = 100_000)]
    pub tenant_hints: usize,

    /// What stands between the service and PostgreSQL
    #[arg(
        long,
        env = "DATABASE_POOLER",
        value_name = "KIND",
        value_enum,
        default_value_t
    )]
    pub database_pooler: Pooler,

    /// How long a request waits for a connection
    #[arg(long, env = "ACQUIRE_TIMEOUT", value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub acquire_timeout: Duration,

    /// How long one statement may run
    #[arg(long, env = "STATEMENT_TIMEOUT", value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub statement_timeout: Duration,

    /// Whether tenants have roles of their own.
    #[command(flatten)]
    pub roles: RoleSettings,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            database_max_connections: default_max_connections(),
            database_statement_cache: 512,
            tenant_hints: 100_000,
            database_pooler: Pooler::None,
            acquire_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(5),
            roles: RoleSettings::default(),
        }
    }
}

/// Whether each tenant is read under a database role of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Roles")]
pub struct RoleSettings {
    /// Whether each tenant has a role of its own, named like its schema, which can read that tenant alone.
    /// The service takes it on for each request
    #[arg(
        long,
        env = "TENANT_ROLES",
        value_name = "WHETHER",
        value_enum,
        default_value_t
    )]
    pub tenant_roles: TenantRoles,

    /// The role that the service logs in as, which must be NOINHERIT. Whatever makes tenants' roles grants
    /// them to it; without it nothing is granted, and only a superuser can take them on
    #[arg(long, env = "SERVICE_ROLE", value_name = "NAME")]
    service_role: Option<String>,
}

impl RoleSettings {
    /// Tenants have roles, which are granted to `service_role`, where one is named.
    #[must_use]
    pub fn on(service_role: Option<&str>) -> Self {
        Self {
            tenant_roles: TenantRoles::On,
            service_role: service_role.map(str::to_owned),
        }
    }

    /// Whether tenants have roles.
    #[must_use]
    pub fn are_on(&self) -> bool {
        self.tenant_roles == TenantRoles::On
    }

    /// The role that the service logs in as, where it is named. An empty variable counts as none.
    #[must_use]
    pub fn service_role(&self) -> Option<&str> {
        self.service_role.as_deref().filter(|role| !role.is_empty())
    }
}

/// Whether tenants have roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum TenantRoles {
    /// All tenants are read as the role that the service logs in as
    #[default]
    Off,
    /// Each tenant is read as its own role
    On,
}

/// What stands between the service and PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Pooler {
    /// Nothing that matters: each connection has a server connection of its own
    #[default]
    None,
    /// PgBouncer or the like, which lends a server connection for one transaction at a time
    Transaction,
}

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

    /// Where the database is.
    #[command(flatten)]
    pub database: DatabaseSettings,

    /// How connections to it are made and kept.
    #[command(flatten)]
    pub pool: PoolSettings,
}

/// What is logged and how.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub struct LogSettings {
    /// How log lines look [default: pretty on a terminal, else json]
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT", global = true)]
    log_format: Option<LogFormat>,

    /// What is logged: a level, or levels by module, such as info,sqlx=debug
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", default_value = "info", value_parser = log_filter, global = true)]
    log_filter: String,
}

impl LogSettings {
    /// The format asked for, or the one that fits where the log goes.
    #[must_use]
    pub fn format(&self) -> LogFormat {
        self.log_format.unwrap_or(if std::io::stderr().is_terminal() {
            LogFormat::Pretty
        } else {
            LogFormat::Json
        })
    }

    /// Whether log lines may be coloured: on a terminal, unless `NO_COLOR` says otherwise.
    #[must_use]
    pub fn coloured(&self) -> bool {
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    /// The filter; its text was checked when it was read. What PostgreSQL remarks on migrations, such
    /// as that a table exists already, is left out unless it is asked for.
    #[must_use]
    pub fn filter(&self) -> EnvFilter {
        EnvFilter::new(format!("sqlx::postgres::notice=warn,{}", self.log_filter))
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people: a line of text, coloured on a terminal
    Pretty,
    /// For programs: a JSON object a line
    Json,
}

/// A database's URL, which may hold a password: it is never shown.
#[derive(Clone)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The URL itself, for connecting alone.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for DatabaseUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(…)")
    }
}

/// The folders of the `PATH`.
#[must_use]
pub fn program_folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}

fn default_max_connections() -> u32 {
    let cores = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    u32::try_from(cores * 2).unwrap_or(u32::MAX).max(4)
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; write 500ms or 2s"))?;
    if duration < Duration::from_millis(1) || duration > LONGEST_DURATION {
        return Err("a duration from 1ms to 24h is expected".to_owned());
    }
    Ok(duration)
}

fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_their_unit_and_stay_in_bounds() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        for wrong in ["", "5", "-1s", "0s", "1ns", "2days", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_database_url_does_not_show_its_password() {
        let url = DatabaseUrl::from("postgres://me:hush@db/x".to_owned());
        assert!(!format!("{url:?}").contains("hush"));
    }
}
