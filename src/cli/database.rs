//! The database of a command: the one in `DATABASE_URL`, or an embedded one. Also its migrations, and the signals
//! that stop its work.

use super::CommandError;
use crate::admin::migrations::MigrationSource;
use crate::admin::{AdminDatabase, AdminError};
use crate::config::{DatabaseSettings, DatabaseUrl, MigrationSettings};
use crate::server::StopSignals;

#[cfg(all(feature = "embedded", unix))]
use super::output;
#[cfg(all(feature = "embedded", unix))]
use crate::embedded::{Binaries, DataDir, EmbeddedPostgres};

/// Reads the configured folder of migrations, or returns those that are compiled in.
pub(super) fn read_migrations(settings: &MigrationSettings) -> Result<MigrationSource, CommandError> {
    Ok(match settings.folder() {
        Some(folder) => MigrationSource::read(folder)?,
        None => MigrationSource::compiled_in().clone(),
    })
}

/// Runs `work` on a writable database, until the first signal.
pub(super) async fn with_admin_database<T>(
    settings: &DatabaseSettings,
    signals: &StopSignals,
    work: impl AsyncFnOnce(&AdminDatabase) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    with_readonly_admin_database(settings, signals, async |database| {
        database.require_writable().await?;
        work(database).await
    })
    .await
}

/// Runs `work` on a database that may be a read-only standby, until the first signal.
pub(super) async fn with_readonly_admin_database<T>(
    settings: &DatabaseSettings,
    signals: &StopSignals,
    work: impl AsyncFnOnce(&AdminDatabase) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    with_database(settings, async |url| {
        unless_stopped(signals, async {
            let database = connect_admin_database(url).await?;
            work(&database).await
        })
        .await
    })
    .await
}

/// Opens the database for administration, and fails if a transaction pooler is in between.
pub(super) async fn connect_admin_database(url: &DatabaseUrl) -> Result<AdminDatabase, CommandError> {
    let database = AdminDatabase::new(url)?;
    database.require_sessions().await.map_err(AdminError::from)?;
    Ok(database)
}

/// Runs `work` on the configured or embedded database, and stops an embedded server afterwards.
pub(super) async fn with_database<T>(
    settings: &DatabaseSettings,
    work: impl AsyncFnOnce(&DatabaseUrl) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    match settings.url() {
        Some(url) => work(&url).await,
        None => with_embedded_database(settings, work).await,
    }
}

#[cfg(all(feature = "embedded", unix))]
async fn with_embedded_database<T>(
    settings: &DatabaseSettings,
    work: impl AsyncFnOnce(&DatabaseUrl) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let server = start_embedded(settings).await?;
    let worked = work(server.url()).await;
    let stopped = server.stop(); // also after a failure
    let result = worked?;
    stopped?;
    Ok(result)
}

/// Starts an embedded server, and reports the steps.
#[cfg(all(feature = "embedded", unix))]
async fn start_embedded(settings: &DatabaseSettings) -> Result<EmbeddedPostgres, CommandError> {
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
    let server = data_dir.start(&binaries)?;
    output::status(&format!(
        "PostgreSQL is running; connect with: {}",
        server.psql_command()
    ));
    Ok(server)
}

#[cfg(not(all(feature = "embedded", unix)))]
#[expect(
    clippy::unused_async,
    reason = "the same signature as with the feature embedded"
)]
async fn with_embedded_database<T>(
    _settings: &DatabaseSettings,
    _work: impl AsyncFnOnce(&DatabaseUrl) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    Err(CommandError::NotConfigured)
}

/// Runs `work`, and drops it at the first signal.
pub(super) async fn unless_stopped<T>(
    signals: &StopSignals,
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    tokio::select! {
        biased;
        () = signals.clone().wait_for(1) => Err(CommandError::Stopped),
        worked = work => worked,
    }
}
