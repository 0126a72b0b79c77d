//! Where the database is.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use secrecy::{ExposeSecret, SecretString};

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
        self.database_url.as_ref().filter(|url| !url.expose().is_empty())
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

/// A database's URL, which may hold a password: it is never shown.
#[derive(Debug, Clone)]
pub struct DatabaseUrl(SecretString);

impl DatabaseUrl {
    /// The URL itself, for connecting alone.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for DatabaseUrl {
    fn from(url: String) -> Self {
        Self(url.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_url_does_not_show_its_password() {
        let url = DatabaseUrl::from("postgres://me:hush@db/x".to_owned());
        assert!(!format!("{url:?}").contains("hush"));
    }
}
