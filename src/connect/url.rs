//! The database URL: hosts and parameters as libpq has them (PostgreSQL manual, section 34.1.1.2).

use std::path::{Path, PathBuf};
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// The reason why a database URL cannot be used. It names the part, not the password.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDatabaseUrl {
    /// The text is not a PostgreSQL URL.
    #[error("DATABASE_URL is not a PostgreSQL URL such as postgres://user:password@host:5432/database")]
    Malformed(#[source] Option<sqlx::Error>),
    /// The parameter has no effect here. sqlx would log it with its value.
    #[error("DATABASE_URL has the unsupported parameter {0}; remove it")]
    UnknownParameter(String),
    /// A parameter has a value that it cannot have.
    #[error("DATABASE_URL has an invalid {parameter}; expected {expected}")]
    InvalidParameter {
        /// The parameter.
        parameter: &'static str,
        /// The values that it can have.
        expected: &'static str,
    },
    /// The file of trusted certificates cannot be read.
    #[error("failed to read the certificates that sslrootcert in DATABASE_URL names: {0}")]
    RootCertificate(PathBuf, #[source] std::io::Error),
    /// The password file cannot be read.
    #[error("failed to read the file that DATABASE_PASSWORD_FILE names: {0}")]
    PasswordFile(PathBuf, #[source] std::io::Error),
}

/// The parameters of `PgConnectOptions`, besides `options[…]`, that are passed on.
const SQLX_PARAMETERS: [&str; 13] = [
    "application_name",
    "dbname",
    "options",
    "password",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "user",
];

const DEFAULT_PORT: u16 = 5432;

/// The servers that one pass over the hosts accepts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepts {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
}

/// A parsed database URL.
#[derive(Clone)]
pub(super) struct ConnectUrl {
    /// The options for each host, in the order of the URL. At least one.
    pub(super) hosts: Vec<PgConnectOptions>,
    /// The passes over the hosts (`target_session_attrs`).
    pub(super) passes: &'static [Accepts],
}

/// The parameters that are not passed on to sqlx.
#[derive(Default)]
struct Parameters {
    hosts: Option<String>,
    addresses: Option<String>,
    ports: Option<String>,
    root_certificate: Option<String>,
    passes: Option<&'static [Accepts]>,
    /// The other parameters, as they stand in the URL.
    passed_on: Vec<String>,
}

impl ConnectUrl {
    /// Parses `url`. `default_root_certificate` is the file that is trusted if the URL names none.
    pub(super) fn parse(
        url: &str,
        default_root_certificate: Option<&Path>,
    ) -> Result<Self, InvalidDatabaseUrl> {
        let malformed = || InvalidDatabaseUrl::Malformed(None);
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .ok_or_else(malformed)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // An unescaped / in a password would make the rest of it the database's name, which is logged.
        if !authority.contains('@') && path.contains('@') {
            return Err(malformed());
        }
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (format!("{user}@"), hosts),
            None => (String::new(), authority),
        };
        let parameters = Parameters::parse(query)?;
        // sqlx takes one host, and none at all only without a user: the real ones are set below.
        let url = format!(
            "postgres://{user}localhost/{path}?{}",
            parameters.passed_on.join("&")
        );
        let options = PgConnectOptions::from_str(&url)
            .map_err(|error| InvalidDatabaseUrl::Malformed(Some(error)))?
            .application_name("tenant-orders");
        let options = parameters.with_root_certificate(options, default_root_certificate)?;
        let hosts = hosts_with_ports(hosts, &parameters)?
            .into_iter()
            .map(|(host, port)| with_host(options.clone(), &host, port))
            .collect();
        Ok(Self {
            hosts,
            passes: parameters.passes.unwrap_or(&[Accepts::Any]),
        })
    }
}

fn with_host(options: PgConnectOptions, host: &str, port: u16) -> PgConnectOptions {
    match host {
        // As in libpq: PGHOST, or the socket in its usual folder.
        "" => options.host(PgConnectOptions::new_without_pgpass().get_host()),
        folder if folder.starts_with('/') => options.socket(folder),
        host => options.host(host),
    }
    .port(port)
}

/// Returns the hosts of the authority, or of the parameters `hostaddr` or `host`, each with its port.
fn hosts_with_ports(
    authority: &str,
    parameters: &Parameters,
) -> Result<Vec<(String, u16)>, InvalidDatabaseUrl> {
    let invalid_port = || InvalidDatabaseUrl::InvalidParameter {
        parameter: "port",
        expected: "a number from 1 to 65535, or one for each host",
    };
    let parse_port = |text: &str| match text {
        "" => Ok(DEFAULT_PORT),
        text => text
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(invalid_port),
    };
    if let Some(list) = parameters.addresses.as_ref().or(parameters.hosts.as_ref()) {
        let hosts: Vec<&str> = list.split(',').collect();
        let default_port = authority.rsplit_once(':').map_or("", |(_, port)| port);
        let ports = parameters.ports.as_deref().unwrap_or(default_port);
        let mut ports: Vec<&str> = ports.split(',').collect();
        if let [port] = ports.as_slice() {
            ports = vec![port; hosts.len()];
        }
        if ports.len() != hosts.len() {
            return Err(invalid_port());
        }
        let hosts = hosts.into_iter().zip(ports);
        return hosts
            .map(|(host, port)| Ok((host.to_owned(), parse_port(port)?)))
            .collect();
    }
    authority
        .split(',')
        .map(|host| {
            let is_bracketed = host.starts_with('[');
            let (name, port) = match host.rsplit_once(':') {
                Some((name, port)) if !is_bracketed || name.ends_with(']') => (name, port),
                _ => (host, parameters.ports.as_deref().unwrap_or_default()),
            };
            let name = match name.strip_prefix('[') {
                Some(name) => name
                    .strip_suffix(']')
                    .ok_or(InvalidDatabaseUrl::Malformed(None))?,
                None => name,
            };
            let name = percent_decode_str(name)
                .decode_utf8()
                .map_err(|_| InvalidDatabaseUrl::Malformed(None))?;
            Ok((name.into_owned(), parse_port(port)?))
        })
        .collect()
}

impl Parameters {
    fn parse(query: &str) -> Result<Self, InvalidDatabaseUrl> {
        let mut parameters = Self::default();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let name = percent_decode_str(name).decode_utf8_lossy();
            let value = percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| InvalidDatabaseUrl::Malformed(None))?
                .into_owned();
            match name.as_ref() {
                "host" => parameters.hosts = Some(value),
                "hostaddr" => parameters.addresses = Some(value),
                "port" => parameters.ports = Some(value),
                "sslrootcert" => parameters.root_certificate = Some(value),
                "target_session_attrs" => parameters.passes = Some(parse_session_attributes(&value)?),
                name if SQLX_PARAMETERS.contains(&name) || name.starts_with("options[") => {
                    parameters.passed_on.push(parameter.to_owned());
                }
                // An unescaped ? in a password makes the rest of it look like parameters: the text is shown
                // only if it is certainly a name.
                name if query.contains('@')
                    || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') =>
                {
                    return Err(InvalidDatabaseUrl::Malformed(None));
                }
                name => return Err(InvalidDatabaseUrl::UnknownParameter(name.to_owned())),
            }
        }
        Ok(parameters)
    }

    /// Sets the trusted certificates as libpq does: with a file, `sslmode=require` verifies the certificate, and
    /// `sslrootcert=system` verifies the host's name too.
    fn with_root_certificate(
        &self,
        options: PgConnectOptions,
        default_file: Option<&Path>,
    ) -> Result<PgConnectOptions, InvalidDatabaseUrl> {
        let named = self.root_certificate.as_deref().filter(|path| !path.is_empty());
        if named == Some("system") {
            let names_mode = self
                .passed_on
                .iter()
                .any(|parameter| parameter.starts_with("sslmode=") || parameter.starts_with("ssl-mode="));
            return match options.get_ssl_mode() {
                PgSslMode::VerifyFull => Ok(options),
                _ if !names_mode => Ok(options.ssl_mode(PgSslMode::VerifyFull)),
                _ => Err(InvalidDatabaseUrl::InvalidParameter {
                    parameter: "sslmode",
                    expected: "verify-full, which sslrootcert=system needs",
                }),
            };
        }
        let Some(path) = named.map(Path::new).or(default_file) else {
            return Ok(options);
        };
        std::fs::read(path).map_err(|error| InvalidDatabaseUrl::RootCertificate(path.to_owned(), error))?;
        let options = match options.get_ssl_mode() {
            PgSslMode::Require => options.ssl_mode(PgSslMode::VerifyCa),
            _ => options,
        };
        Ok(options.ssl_root_cert(path))
    }
}

fn parse_session_attributes(value: &str) -> Result<&'static [Accepts], InvalidDatabaseUrl> {
    match value {
        "any" => Ok(&[Accepts::Any]),
        "read-write" => Ok(&[Accepts::ReadWrite]),
        "read-only" => Ok(&[Accepts::ReadOnly]),
        "primary" => Ok(&[Accepts::Primary]),
        "standby" => Ok(&[Accepts::Standby]),
        "prefer-standby" => Ok(&[Accepts::Standby, Accepts::Any]),
        _ => Err(InvalidDatabaseUrl::InvalidParameter {
            parameter: "target_session_attrs",
            expected: "any, read-write, read-only, primary, standby or prefer-standby",
        }),
    }
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
