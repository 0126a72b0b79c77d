//! Connections to PostgreSQL: the hosts of `DATABASE_URL`, tried in order, the password file, and TLS.

mod tls;
mod url;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, raw_sql};

pub use self::url::InvalidDatabaseUrl;
use self::url::{Accepts, ConnectUrl};
use crate::config::DatabaseUrl;

/// Connects to the first suitable host of a database URL.
#[derive(Clone)]
pub(crate) struct Connector {
    url: ConnectUrl,
    password_file: Option<PathBuf>,
}

impl Connector {
    /// Parses `url`, and checks that the files it names can be read. Opens no connection.
    pub(crate) fn new(url: &DatabaseUrl) -> Result<Self, InvalidDatabaseUrl> {
        let connector = Self {
            url: ConnectUrl::parse(url.expose(), default_root_certificate().as_deref())?,
            password_file: url.password_file.clone(),
        };
        connector.read_password().map_err(|error| {
            let path = connector.password_file.clone().unwrap_or_default();
            InvalidDatabaseUrl::PasswordFile(path, error)
        })?;
        Ok(connector)
    }

    /// The same hosts with options changed by `change`.
    pub(crate) fn with_options(mut self, change: impl Fn(PgConnectOptions) -> PgConnectOptions) -> Self {
        self.url.hosts = self.url.hosts.into_iter().map(change).collect();
        self
    }

    /// Connects to the first host that accepts connections and fits `target_session_attrs`, within `timeout`,
    /// of which each host has an equal part. The error is that of the last host. Cancel-safe.
    pub(crate) async fn connect(&self, timeout: Duration) -> Result<PgConnection, sqlx::Error> {
        let password = self.read_password()?;
        let ConnectUrl { hosts, passes } = &self.url;
        let attempts = u32::try_from(hosts.len() * passes.len()).unwrap_or(u32::MAX);
        let timeout = timeout / attempts.max(1);
        let mut last_error = None;
        for accepts in *passes {
            for host in hosts {
                let options = match &password {
                    Some(password) => host.clone().password(password.expose_secret()),
                    None => host.clone(),
                };
                let attempt = async {
                    let connection = tls::open(options).await?;
                    accepts.check(connection).await
                };
                let timed_out = |_| {
                    let (host, port) = (host.get_host(), host.get_port());
                    let message = format!("no answer from {host}:{port} within {timeout:?}");
                    Err(io::Error::new(io::ErrorKind::TimedOut, message).into())
                };
                let connected = tokio::time::timeout(timeout, attempt).await;
                match connected.unwrap_or_else(timed_out) {
                    Ok(connection) => return Ok(connection),
                    Err(error) => last_error = Some(error),
                }
            }
        }
        Err(last_error.unwrap_or_else(|| sqlx::Error::Configuration("no host".into())))
    }

    /// Returns the name of the database. Like libpq, the user's name if the URL has none.
    pub(crate) fn database_name(&self) -> &str {
        let options = self.url.hosts.first();
        options.map_or("", |options| {
            options.get_database().unwrap_or(options.get_username())
        })
    }

    fn read_password(&self) -> io::Result<Option<SecretString>> {
        let Some(path) = &self.password_file else {
            return Ok(None);
        };
        let content = SecretString::from(std::fs::read_to_string(path)?);
        let line = content.expose_secret().lines().next().unwrap_or_default();
        Ok(Some(line.into()))
    }
}

/// The file that libpq trusts without `sslrootcert`, if there is one.
fn default_root_certificate() -> Option<PathBuf> {
    let file = std::env::home_dir()?.join(".postgresql/root.crt");
    file.is_file().then_some(file)
}

impl Accepts {
    /// Returns `connection` if its server is accepted.
    async fn check(self, mut connection: PgConnection) -> Result<PgConnection, sqlx::Error> {
        if self == Self::Any {
            return Ok(connection);
        }
        let row = raw_sql(
            "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only') = 'on'",
        )
        .fetch_one(&mut connection)
        .await?;
        let is_standby: bool = sqlx::Row::try_get(&row, 0)?;
        let is_read_only: bool = sqlx::Row::try_get(&row, 1)?;
        let refusal = match self {
            Self::ReadWrite if is_read_only => "the session is read-only",
            Self::ReadOnly if !is_read_only => "the session is not read-only",
            Self::Primary if is_standby => "the server is a standby",
            Self::Standby if !is_standby => "the server is not a standby",
            _ => return Ok(connection),
        };
        let _ = connection.close().await;
        Err(sqlx::Error::Io(io::Error::other(refusal)))
    }
}
