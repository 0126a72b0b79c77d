//! The command-line interface.

mod archive;
mod confirm;
mod database;
mod database_wait;
mod error;
mod fleet;
mod healthcheck;
mod log;
mod migrate;
pub mod output;
mod placement;
mod query;
mod report;
mod rollout;
mod seed;
mod serve;
mod tenants;
mod token;
mod usage;

use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::admin::migrations::MigrationSource;
use crate::admin::{self, AdminDatabase, AdminError};
use crate::config::{DatabaseSettings, DatabaseUrl, LogSettings, MigrationSettings, ServeSettings};
use crate::server::StopSignals;
use database::DatabaseSource;
pub use error::CommandError;
use healthcheck::HealthcheckArguments;
pub use log::{Log, start_log};
use migrate::MigrateArguments;
use seed::SeedCommand;
use tenants::TenantsCommand;
use token::TokenArguments;

/// REST service for the orders of users, on a PostgreSQL database with one schema per tenant.
///
/// The default command is serve. Without DATABASE_URL it starts an embedded PostgreSQL with demo data.
/// Every setting is a flag and an environment variable; variables are also read from the file .env.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// Log settings.
    #[command(flatten)]
    pub log: LogSettings,
    #[command(flatten)]
    serve: ServeSettings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service (default)
    Serve(Box<ServeSettings>),
    /// Apply migrations to the shared tables and then to every tenant
    Migrate(MigrateArguments),
    /// Create, list, query, check, drop, export, import, distribute and move tenants
    #[command(subcommand)]
    Tenants(TenantsCommand),
    /// Create demo or load-test data
    #[command(subcommand)]
    Seed(SeedCommand),
    /// Check that the running service is alive, or ready with --ready, for containers
    Healthcheck(HealthcheckArguments),
    /// Print a token for testing, signed with JWT_SECRET
    Token(TokenArguments),
    /// Print a shell completion script
    Completions {
        /// Shell to complete commands in
        shell: Shell,
    },
    /// Write the manual pages to a folder
    Man {
        /// Existing folder
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
}

impl Cli {
    /// Runs the command. The first signal starts a clean shutdown, the second cuts off the requests in flight,
    /// and the third ends the process immediately.
    ///
    /// # Errors
    ///
    /// Returns [`CommandError`] if the command fails.
    pub async fn run(self, signals: StopSignals) -> Result<(), CommandError> {
        match self.command {
            None => Box::pin(serve::serve(self.serve, signals)).await,
            Some(Command::Serve(settings)) => Box::pin(serve::serve(*settings, signals)).await,
            Some(Command::Migrate(arguments)) => Box::pin(migrate::migrate(&arguments, &signals)).await,
            Some(Command::Healthcheck(arguments)) => healthcheck::healthcheck(&arguments).await,
            Some(Command::Token(arguments)) => token::token(&arguments),
            Some(Command::Tenants(command)) => Box::pin(command.run(&signals)).await,
            Some(Command::Seed(command)) => Box::pin(command.run(&signals)).await,
            Some(Command::Completions { shell }) => {
                output::print_completions(shell, &mut Self::command());
                Ok(())
            }
            Some(Command::Man { folder }) => clap_mangen::generate_to(Self::command(), &folder)
                .map_err(|source| CommandError::Manual { folder, source }),
        }
    }
}

/// Reads the configured folder of migrations, or returns those that are compiled in.
fn read_migrations(settings: &MigrationSettings) -> Result<MigrationSource, CommandError> {
    Ok(match settings.folder() {
        Some(folder) => MigrationSource::read(folder)?,
        None => MigrationSource::compiled_in().clone(),
    })
}

/// Runs `work` on a writable database, until the first signal.
async fn with_admin_database<T>(
    settings: &DatabaseSettings,
    signals: &StopSignals,
    work: impl AsyncFnOnce(&AdminDatabase) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    with_readonly_admin_database(settings, signals, async |database| {
        admin::require_writable(database).await?;
        work(database).await
    })
    .await
}

/// Runs `work` on a database that may be a read-only standby, until the first signal.
async fn with_readonly_admin_database<T>(
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
async fn connect_admin_database(url: &DatabaseUrl) -> Result<AdminDatabase, CommandError> {
    let database = AdminDatabase::new(url)?;
    database.require_sessions().await.map_err(AdminError::from)?;
    Ok(database)
}

/// Runs `work` on the configured or embedded database, and stops an embedded server afterwards.
async fn with_database<T>(
    settings: &DatabaseSettings,
    work: impl AsyncFnOnce(&DatabaseUrl) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let source = DatabaseSource::open(settings).await?;
    let worked = work(source.url()).await;
    let closed = source.close(); // stops the server also after a failure
    let result = worked?;
    closed?;
    Ok(result)
}

/// Runs `work`, and drops it at the first signal.
async fn unless_stopped<T>(
    signals: &StopSignals,
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    tokio::select! {
        biased;
        () = signals.clone().wait_for(1) => Err(CommandError::Stopped),
        worked = work => worked,
    }
}
