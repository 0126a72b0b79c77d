//! The folder of migrations.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

/// The folder of migrations.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub struct MigrationSettings {
    /// Folder with the folders shared and tenant, whose migrations replace the compiled-in ones
    #[arg(long = "migrations", env = "MIGRATIONS_DIR", value_name = "DIR", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    migrations_dir: Option<PathBuf>,
}

impl MigrationSettings {
    /// Returns the folder, if one is configured. An empty variable counts as unset.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        let folder = self.migrations_dir.as_deref();
        folder.filter(|folder| !folder.as_os_str().is_empty())
    }
}
