//! The database's address.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use secrecy::{ExposeSecret, SecretString};

/// The database's address.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// PostgreSQL URL; may name several hosts, which are tried in order [default: an embedded PostgreSQL]
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<DatabaseUrl>,

    /// File with the database password, read for each new connection
    #[arg(long, env = "DATABASE_PASSWORD_FILE", value_name = "FILE", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    database_password_file: Option<PathBuf>,

    /// Data folder of the embedded PostgreSQL [default: the platform's data folder]
    #[arg(long, env = "DATA_DIR", value_name = "FOLDER", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    data_dir: Option<PathBuf>,
}

impl DatabaseSettings {
    /// The database, if one is configured. An empty variable counts as unset.
    #[must_use]
    pub fn url(&self) -> Option<DatabaseUrl> {
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

    /// The folder of the embedded cluster, if one is configured. An empty variable counts as unset.
    #[must_use]
    pub fn data_dir(&self) -> Option<&Path> {
        non_empty(self.data_dir.as_deref())
    }
}

fn non_empty(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| !path.as_os_str().is_empty())
}

/// A database URL, which may contain a password and is never shown, and the file with its password, if any.
#[derive(Debug, Clone)]
pub struct DatabaseUrl {
    url: SecretString,
    password_file: Option<PathBuf>,
}

impl DatabaseUrl {
    /// The URL, for connecting only.
    pub(crate) fn expose(&self) -> &str {
        self.url.expose_secret()
    }

    /// The file from which the password is read for each new connection.
    pub(crate) fn password_file(&self) -> Option<&Path> {
        self.password_file.as_deref()
    }

    /// The same database, with the password in `file`.
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
