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
mod summary;
mod tenants;
mod token;
mod usage;

use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{LogSettings, ServeSettings};
use crate::server::StopSignals;
pub(crate) use error::CommandError;
pub use error::Failure;
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
    /// Check that the running service is alive, or with --ready that it is ready; exits with 1 if not
    Healthcheck(HealthcheckArguments),
    /// Print a token for testing, signed with JWT_SECRET
    Token(TokenArguments),
    /// Print a shell completion script
    Completions {
        /// Shell that the script is for
        shell: Shell,
    },
    /// Write the manual pages to a folder
    Man {
        /// Folder to write to; it must exist
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
    /// [`Failure`] if the command fails.
    pub async fn run(self, signals: StopSignals) -> Result<(), Failure> {
        let result = match self.command {
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
        };
        Ok(result?)
    }
}
