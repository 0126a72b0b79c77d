//! The commands.

mod archive;
mod confirm;
mod database;
mod error;
mod fleet;
mod log;
mod migrate;
pub mod output;
mod placement;
mod report;
mod seed;
mod serve;
mod tenants;
mod token;
mod usage;

use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::admin::AdminDatabase;
use crate::admin::{self, AdminError};
use crate::config::{DatabaseSettings, DatabaseUrl, LogSettings, ServeSettings};
use crate::server::{self, StopSignals};
use crate::tenancy::SchemaName;
use database::DatabaseSource;
pub use error::CommandError;
pub use log::{Log, start_log};
use migrate::MigrateArguments;
use seed::SeedCommand;
use tenants::TenantsCommand;
use token::TokenArguments;

/// Serves the orders of each user out of their tenant's schema.
///
/// Without a command it serves; without DATABASE_URL it starts a PostgreSQL of its own with demo
/// data. Every setting is a flag and an environment variable, which may also stand in a file named .env.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// What is logged and how.
    #[command(flatten)]
    pub log: LogSettings,
    #[command(flatten)]
    serve: ServeSettings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve GET /users/{id}/orders; this is what happens without a command
    Serve(ServeSettings),
    /// Bring the shared tables and then every tenant's schema up to date
    Migrate(MigrateArguments),
    /// Make, list, check, drop, export and import tenants, and put them on the nodes of a Citus cluster
    #[command(subcommand)]
    Tenants(TenantsCommand),
    /// Make data to try or to measure with
    #[command(subcommand)]
    Seed(SeedCommand),
    /// Print a token for trying the service, signed with JWT_SECRET
    Token(TokenArguments),
    /// Write what completes these commands in a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the manual pages of these commands into a folder
    Man {
        /// Which folder, which has to be there
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
}

impl Cli {
    /// Runs the command. A first signal to stop lets it finish what must not be left half-done, above
    /// all an embedded PostgreSQL; a second cuts off requests; a third ends the process.
    ///
    /// # Errors
    ///
    /// [`CommandError`].
    pub async fn run(self) -> Result<(), CommandError> {
        let signals = server::stop_signals().map_err(CommandError::Signals)?;
        match self.command {
            None => Box::pin(serve::serve(self.serve, signals)).await,
            Some(Command::Serve(settings)) => Box::pin(serve::serve(settings, signals)).await,
            Some(Command::Migrate(arguments)) => Box::pin(migrate::migrate(&arguments, &signals)).await,
            Some(Command::Token(arguments)) => token::token(&arguments),
            Some(Command::Tenants(command)) => Box::pin(command.run(&signals)).await,
            Some(Command::Seed(command)) => Box::pin(command.run(&signals)).await,
            Some(Command::Completions { shell }) => {
                output::completions(shell, &mut Self::command());
                Ok(())
            }
            Some(Command::Man { folder }) => clap_mangen::generate_to(Self::command(), &folder)
                .map_err(|source| CommandError::Manual { folder, source }),
        }
    }
}

/// The schemas that are named on the command line.
fn schemas(names: &[String]) -> Result<Vec<SchemaName>, CommandError> {
    names.iter().map(|name| Ok(SchemaName::parse(name)?)).collect()
}

/// Does `work` on a database that is to be changed, or gives it up at the first signal.
async fn with_admin_database<T>(
    settings: &DatabaseSettings,
    signals: &StopSignals,
    work: impl AsyncFnOnce(&AdminDatabase) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    inspect(settings, signals, async |database| {
        admin::require_writable(database).await?;
        work(database).await
    })
    .await
}

/// The same, where nothing is written: a standby will do.
async fn inspect<T>(
    settings: &DatabaseSettings,
    signals: &StopSignals,
    work: impl AsyncFnOnce(&AdminDatabase) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    with_database(settings, async |url| {
        unless_stopped(signals, async {
            let database = admin_database(url).await?;
            work(&database).await
        })
        .await
    })
    .await
}

/// A database for administration, over connections that are fit for that.
async fn admin_database(url: &DatabaseUrl) -> Result<AdminDatabase, CommandError> {
    let database = AdminDatabase::new(url)?;
    database.require_sessions().await.map_err(AdminError::from)?;
    Ok(database)
}

/// Does `work` with the database that the settings name, and leaves nothing of it running.
async fn with_database<T>(
    settings: &DatabaseSettings,
    work: impl AsyncFnOnce(&DatabaseUrl) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let source = DatabaseSource::open(settings).await?;
    let worked = work(source.url()).await;
    let closed = source.close();
    let done = worked?;
    closed?;
    Ok(done)
}

/// Does `work`, or gives it up at the first signal.
async fn unless_stopped<T>(
    signals: &StopSignals,
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    tokio::select! {
        biased;
        () = signals.clone().received(1) => Err(CommandError::Stopped),
        worked = work => worked,
    }
}
