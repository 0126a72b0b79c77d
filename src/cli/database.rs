//! Which database a command works with: the one that is named, or an embedded one.

use crate::config::{DatabaseSettings, DatabaseUrl};

#[cfg(all(feature = "embedded", unix))]
use super::output;
#[cfg(all(feature = "embedded", unix))]
use crate::embedded::{Binaries, DataDir, DataDirError, EmbeddedPostgres, FetchError, ServerError};

/// A database at hand.
pub(super) struct DatabaseSource {
    url: DatabaseUrl,
    #[cfg(all(feature = "embedded", unix))]
    embedded: Option<EmbeddedPostgres>,
}

/// There is no database at hand.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The data folder cannot be used.
    #[cfg(all(feature = "embedded", unix))]
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// PostgreSQL is not installed, and cannot be had.
    #[cfg(all(feature = "embedded", unix))]
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The embedded server failed.
    #[cfg(all(feature = "embedded", unix))]
    #[error(transparent)]
    Server(#[from] ServerError),
    /// This build has no embedded PostgreSQL.
    #[cfg(not(all(feature = "embedded", unix)))]
    #[error("DATABASE_URL is not set, and this build has no embedded PostgreSQL")]
    NoneNamed,
}

impl DatabaseSource {
    /// The database that is named, else an embedded one, started and told about.
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
        output::step(&format!(
            "no DATABASE_URL is set: using an embedded PostgreSQL in {}",
            data_dir.path().display()
        ));
        let binaries = if let Some(binaries) = Binaries::find(&data_dir) {
            binaries
        } else {
            output::step("no PostgreSQL server is installed: downloading one");
            Binaries::fetch(&data_dir).await?
        };
        output::step(&format!(
            "PostgreSQL {} is in {}",
            binaries.version,
            binaries.folder.display()
        ));
        if data_dir.cluster_version().is_none() {
            output::step("making a database cluster");
            data_dir.make_cluster(&binaries)?;
        }
        let embedded = data_dir.start(&binaries)?;
        output::step(&format!(
            "PostgreSQL runs; look inside with {}",
            embedded.psql_command()
        ));
        Ok(Self {
            url: embedded.url().clone(),
            embedded: Some(embedded),
        })
    }

    #[cfg(not(all(feature = "embedded", unix)))]
    #[expect(clippy::unused_async, reason = "the signature of its twin")]
    async fn embedded(_settings: &DatabaseSettings) -> Result<Self, SourceError> {
        Err(SourceError::NoneNamed)
    }

    pub(super) fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    /// Stops the embedded server, if there is one, and waits until it has stopped.
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
