//! The database of a command: the one in `DATABASE_URL`, or an embedded one.

use crate::config::{DatabaseSettings, DatabaseUrl};

#[cfg(all(feature = "embedded", unix))]
use super::output;
#[cfg(all(feature = "embedded", unix))]
use crate::embedded::{Binaries, DataDir, DataDirError, DownloadError, EmbeddedPostgres, ServerError};

/// The database to use, and the embedded server if it runs there.
pub(super) struct DatabaseSource {
    url: DatabaseUrl,
    #[cfg(all(feature = "embedded", unix))]
    embedded: Option<EmbeddedPostgres>,
}

/// Error while opening the database of a command.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The data folder cannot be used.
    #[cfg(all(feature = "embedded", unix))]
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// PostgreSQL is not installed and could not be downloaded.
    #[cfg(all(feature = "embedded", unix))]
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The embedded server could not be started or stopped.
    #[cfg(all(feature = "embedded", unix))]
    #[error(transparent)]
    Server(#[from] ServerError),
    /// No database is configured, and this build has no embedded one.
    #[cfg(not(all(feature = "embedded", unix)))]
    #[error("DATABASE_URL is not set, and this build has no embedded PostgreSQL")]
    NotConfigured,
}

impl DatabaseSource {
    /// Returns the configured database, or starts an embedded one and reports the steps.
    pub(super) async fn open(settings: &DatabaseSettings) -> Result<Self, SourceError> {
        match settings.url() {
            Some(url) => Ok(Self {
                url,
                #[cfg(all(feature = "embedded", unix))]
                embedded: None,
            }),
            None => Self::embedded(settings).await,
        }
    }

    #[cfg(all(feature = "embedded", unix))]
    async fn embedded(settings: &DatabaseSettings) -> Result<Self, SourceError> {
        let data_dir = DataDir::claim(settings.data_dir())?;
        output::status(&format!(
            "DATABASE_URL is not set; using an embedded PostgreSQL in {}",
            data_dir.path().display()
        ));
        let binaries = if let Some(binaries) = Binaries::find(&data_dir) {
            binaries
        } else {
            output::status("PostgreSQL is not installed; downloading it");
            Binaries::download(&data_dir).await?
        };
        output::status(&format!(
            "using PostgreSQL {} from {}",
            binaries.version,
            binaries.folder.display()
        ));
        if data_dir.cluster_version().is_none() {
            output::status("creating a database cluster");
            data_dir.create_cluster(&binaries)?;
        }
        let embedded = data_dir.start(&binaries)?;
        output::status(&format!(
            "PostgreSQL is running; connect with: {}",
            embedded.psql_command()
        ));
        Ok(Self {
            url: embedded.url().clone(),
            embedded: Some(embedded),
        })
    }

    #[cfg(not(all(feature = "embedded", unix)))]
    #[expect(
        clippy::unused_async,
        reason = "the same signature as with the feature embedded"
    )]
    async fn embedded(_settings: &DatabaseSettings) -> Result<Self, SourceError> {
        Err(SourceError::NotConfigured)
    }

    pub(super) fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    /// Stops the embedded server and waits until it has stopped. Does nothing for a configured database.
    #[cfg_attr(
        not(all(feature = "embedded", unix)),
        expect(
            clippy::unused_self,
            clippy::unnecessary_wraps,
            reason = "there is nothing to stop"
        )
    )]
    pub(super) fn close(self) -> Result<(), SourceError> {
        #[cfg(all(feature = "embedded", unix))]
        if let Some(embedded) = self.embedded {
            embedded.stop()?;
        }
        Ok(())
    }
}
