//! Connections to PostgreSQL: the hosts of `DATABASE_URL`, tried in order, the password file, and TLS.

mod tls;
mod url;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, raw_sql};

pub use self::url::InvalidDatabaseUrl;
use self::url::{ConnectUrl, SessionAttributes};
use crate::config::DatabaseUrl;

/// Connects to the first suitable host of a database URL.
#[derive(Clone)]
pub(crate) struct Connector {
    hosts: Vec<PgConnectOptions>,
    session_attributes: SessionAttributes,
    password_file: Option<PathBuf>,
}

impl Connector {
    /// Parses `url`. Opens no connection.
    ///
    /// # Errors
    ///
    /// [`InvalidDatabaseUrl`], also if a file that the URL names cannot be read.
    pub(crate) fn new(url: &DatabaseUrl) -> Result<Self, InvalidDatabaseUrl> {
        let ConnectUrl {
            hosts,
            session_attributes,
        } = ConnectUrl::parse(url.expose(), default_root_certificate().as_deref())?;
        let connector = Self {
            hosts,
            session_attributes,
            password_file: url.password_file().map(PathBuf::from),
        };
        connector.read_password().map_err(|error| {
            let path = connector.password_file.clone().unwrap_or_default();
            InvalidDatabaseUrl::PasswordFile(path, Arc::new(error))
        })?;
        Ok(connector)
    }

    /// The same hosts with options changed by `change`.
    pub(crate) fn with_options(self, change: impl Fn(PgConnectOptions) -> PgConnectOptions) -> Self {
        Self {
            hosts: self.hosts.into_iter().map(change).collect(),
            ..self
        }
    }

    /// Connects to the first host that accepts connections and fits `target_session_attrs`, within `timeout`,
    /// of which each host has an equal part. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The error of the last host.
    pub(crate) async fn connect(&self, timeout: Duration) -> Result<PgConnection, sqlx::Error> {
        let password = self.read_password()?;
        let passes = self.session_attributes.passes();
        let attempts = u32::try_from(self.hosts.len() * passes.len()).unwrap_or(u32::MAX);
        let timeout = timeout / attempts.max(1);
        let mut last_error = None;
        for accepts in passes {
            for host in &self.hosts {
                let options = match &password {
                    Some(password) => host.clone().password(password.expose_secret()),
                    None => host.clone(),
                };
                let attempt = async {
                    let connection = tls::open(options).await?;
                    accepts.check(connection).await
                };
                match tokio::time::timeout(timeout, attempt).await {
                    Ok(Ok(connection)) => return Ok(connection),
                    Ok(Err(error)) => last_error = Some(error),
                    Err(_) => {
                        last_error = Some(sqlx::Error::Io(std::io::Error::new(
                            std::io::ErrorKind::TimedOut,
                            format!(
                                "no answer from {}:{} within {timeout:?}",
                                host.get_host(),
                                host.get_port()
                            ),
                        )));
                    }
                }
            }
        }
        Err(last_error.unwrap_or_else(|| sqlx::Error::Configuration("no host".into())))
    }

    /// Returns the name of the database. Like libpq, the user's name if the URL has none.
    pub(crate) fn database_name(&self) -> &str {
        let options = self.hosts.first();
        options.map_or("", |options| {
            options.get_database().unwrap_or(options.get_username())
        })
    }

    fn read_password(&self) -> std::io::Result<Option<SecretString>> {
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

/// The servers that one pass over the hosts accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepts {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
}

impl SessionAttributes {
    const fn passes(self) -> &'static [Accepts] {
        match self {
            Self::Any => &[Accepts::Any],
            Self::ReadWrite => &[Accepts::ReadWrite],
            Self::ReadOnly => &[Accepts::ReadOnly],
            Self::Primary => &[Accepts::Primary],
            Self::Standby => &[Accepts::Standby],
            Self::PreferStandby => &[Accepts::Standby, Accepts::Any],
        }
    }
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
        Err(sqlx::Error::Io(std::io::Error::other(refusal)))
    }
}
