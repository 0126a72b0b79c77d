//! The database's URL: what may be in it, so that nothing of it is passed over or told.

use std::str::FromStr;

use percent_encoding::percent_decode_str;
use sqlx::postgres::PgConnectOptions;

use crate::config::DatabaseUrl;

/// The database's URL cannot be used. The cause names the part, not the password.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDatabaseUrl {
    /// It is no PostgreSQL URL.
    #[error("DATABASE_URL is not a PostgreSQL URL such as postgres://user:password@host:5432/database")]
    Malformed(#[source] Option<sqlx::Error>),
    /// It names several hosts, which libpq would try one after the other.
    #[error(
        "DATABASE_URL names several hosts: name one address that always leads to the server to use, \
         such as a proxy's or a DNS name that fails over"
    )]
    SeveralHosts,
    /// It has a parameter that would be passed over, which sqlx would log with its value.
    #[error("DATABASE_URL has the parameter {0}, which is not known here: leave it out")]
    UnknownParameter(String),
}

/// The parameters that sqlx knows, beside `options[…]`.
const URL_PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// How to connect to `url`, before anything else is set.
pub(crate) fn connect_options(url: &DatabaseUrl) -> Result<PgConnectOptions, InvalidDatabaseUrl> {
    let url = url.expose();
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
    {
        return Err(InvalidDatabaseUrl::Malformed(None));
    }
    let authority = url.split('/').nth(2).unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.contains(',') {
        return Err(InvalidDatabaseUrl::SeveralHosts);
    }
    // An unescaped / in a password makes the rest of it the database's name, which is logged.
    let path = url.splitn(4, '/').nth(3).unwrap_or_default();
    if !authority.contains('@') && path.split('?').next().unwrap_or_default().contains('@') {
        return Err(InvalidDatabaseUrl::Malformed(None));
    }
    require_known_parameters(url)?;
    let options =
        PgConnectOptions::from_str(url).map_err(|error| InvalidDatabaseUrl::Malformed(Some(error)))?;
    if options.get_host().contains(',') {
        return Err(InvalidDatabaseUrl::SeveralHosts);
    }
    Ok(options.application_name("tenant-orders"))
}

/// A name is told where it can be nothing but one: what looks like parameters may be part of a password.
fn require_known_parameters(url: &str) -> Result<(), InvalidDatabaseUrl> {
    let (_, query) = url.split_once('?').unwrap_or_default();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, _) = parameter.split_once('=').unwrap_or((parameter, ""));
        let name = percent_decode_str(name).decode_utf8_lossy();
        if URL_PARAMETERS.contains(&name.as_ref()) || name.starts_with("options[") {
            continue;
        }
        let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if !is_name || query.contains('@') {
            return Err(InvalidDatabaseUrl::Malformed(None));
        }
        return Err(InvalidDatabaseUrl::UnknownParameter(name.into_owned()));
    }
    Ok(())
}
