//! The database: its address, the wait for it at the start of a command, and its migrations.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use secrecy::{ExposeSecret, SecretString};

use super::duration::parse_duration;

/// The database's address.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub(crate) struct DatabaseSettings {
    /// PostgreSQL URL; may name several hosts, which are tried in order [default: an embedded PostgreSQL]
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    database_url: Option<DatabaseUrl>,

    /// File with the database password, read for each new connection
    #[arg(long, env, value_name = "FILE", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    database_password_file: Option<PathBuf>,

    /// Data folder of the embedded PostgreSQL [default: the platform's data folder]
    #[arg(long, env, value_name = "FOLDER", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    data_dir: Option<PathBuf>,
}

impl DatabaseSettings {
    /// Returns the database, if one is configured. An empty value counts as unset.
    pub(crate) fn url(&self) -> Option<DatabaseUrl> {
        let url = self
            .database_url
            .as_ref()
            .filter(|url| !url.expose().is_empty())?;
        let password_file = non_empty(self.database_password_file.as_deref());
        Some(DatabaseUrl {
            password_file: password_file.map(Path::to_owned),
            ..url.clone()
        })
    }

    /// Returns the folder of the embedded cluster, if one is configured. An empty value counts as unset.
    #[cfg_attr(
        not(all(feature = "embedded", unix)),
        expect(dead_code, reason = "only the embedded server has a data folder")
    )]
    pub(crate) fn data_dir(&self) -> Option<&Path> {
        non_empty(self.data_dir.as_deref())
    }
}

fn non_empty(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| !path.as_os_str().is_empty())
}

/// The folder of migrations.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub(crate) struct MigrationSettings {
    /// Folder with the folders shared and tenant, whose migrations replace the compiled-in ones
    #[arg(long = "migrations", env, value_name = "DIR", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    migrations_dir: Option<PathBuf>,
}

impl MigrationSettings {
    /// Returns the folder, if one is configured. An empty value counts as unset.
    pub(crate) fn folder(&self) -> Option<&Path> {
        non_empty(self.migrations_dir.as_deref())
    }
}

/// Wait for the database at the start of a command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub(crate) struct WaitSettings {
    /// Maximum wait for a database that is not up yet; 0s to fail at once
    #[arg(long, env, value_name = "DURATION", default_value = "30s", value_parser = parse_wait)]
    pub(crate) database_wait: Duration,
}

fn parse_wait(text: &str) -> Result<Duration, String> {
    if text == "0s" {
        return Ok(Duration::ZERO);
    }
    parse_duration(text)
}

/// A database URL, which may contain a password and is never shown, and the file with its password, if any.
#[derive(Debug, Clone)]
pub struct DatabaseUrl {
    url: SecretString,
    /// The file from which the password is read for each new connection.
    pub(crate) password_file: Option<PathBuf>,
}

impl DatabaseUrl {
    /// Returns the URL, for connecting only.
    pub(crate) fn expose(&self) -> &str {
        self.url.expose_secret()
    }

    /// Returns the same database, with the password in `file`.
    #[must_use]
    pub fn with_password_file(self, file: &Path) -> Self {
        Self {
            password_file: Some(file.to_owned()),
            ..self
        }
    }
}

impl From<String> for DatabaseUrl {
    fn from(url: String) -> Self {
        Self {
            url: url.into(),
            password_file: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_does_not_contain_the_password() {
        let url = DatabaseUrl::from("postgres://me:hush@db/x".to_owned());
        assert!(!format!("{url:?}").contains("hush"));
    }
}
