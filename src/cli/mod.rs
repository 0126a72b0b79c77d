//! The commands.

mod archive;
mod confirm;
mod database;
mod log;
mod migrate;
pub mod output;
mod placement;
mod report;
mod serve;
mod tenants;
mod token;
mod usage;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::admin::{self, AdminError};
use crate::authentication::InvalidKeys;
use crate::config::{DatabaseSettings, DatabaseUrl, LogSettings, RoleSettings, ServeSettings};
use crate::seed::{self, BulkPlan, SeedError};
use crate::server::{self, ServeError, StopSignals};
use crate::tenancy::{Administration, DatabaseError, InvalidDatabaseUrl, InvalidSchemaName, SchemaName};
use archive::ArchiveCommandError;
use database::{DatabaseSource, SourceError};
pub use log::{Log, start_log};
use migrate::MigrateArguments;
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

#[derive(Debug, Subcommand)]
enum SeedCommand {
    /// Two users, whose tenants sell the same items at different prices
    Demo(DemoArguments),
    /// Tenants t1, t2, … with users t1-u1, t1-u2, …
    Bulk(BulkArguments),
}

#[derive(Debug, Args)]
struct DemoArguments {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    roles: RoleSettings,
}

#[derive(Debug, Args)]
struct BulkArguments {
    /// How many tenants
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tenants: u32,
    /// Users of each tenant
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: u32,
    /// Items of each tenant
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    items: u32,
    /// Orders of each user
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    orders: u32,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    roles: RoleSettings,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no database to use.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The database's URL cannot be used.
    #[error(transparent)]
    Url(#[from] InvalidDatabaseUrl),
    /// The address to listen on is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The keys for tokens cannot be used.
    #[error(transparent)]
    Keys(#[from] InvalidKeys),
    /// Whoever reaches the service could read everything.
    #[error(
        "refusing to listen on {address}, beyond this machine, since nobody would be asked who they are: \
         set JWT_SECRET or JWT_PUBLIC_KEY_FILE, or ALLOW_UNAUTHENTICATED=true behind a gateway that asks"
    )]
    Unauthenticated {
        /// The address.
        address: String,
    },
    /// There is nothing to sign a token with.
    #[error(
        "JWT_SECRET is not set: only with a secret does the service sign tokens as well as verify them; \
         to sign one with a private key, see docs/security.md"
    )]
    NoSecret,
    /// The operating system does not let signals be caught.
    #[error("cannot catch signals")]
    Signals(#[source] std::io::Error),
    /// Serving failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Nothing can be served over such connections.
    #[error("refusing to serve")]
    Unfit(#[source] DatabaseError),
    /// A signal came before the work was done.
    #[error("stopped by a signal; what was done stays")]
    Stopped,
    /// A second signal came before the requests under way were finished.
    #[error("stopped at once by a second signal: requests under way were cut off")]
    Interrupted,
    /// Administration failed.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Not a name for a tenant.
    #[error(transparent)]
    Name(#[from] InvalidSchemaName),
    /// Administration of one tenant failed.
    #[error("tenant {name:?}: {source}")]
    Tenant {
        /// Its name.
        name: String,
        /// Why.
        source: AdminError,
    },
    /// Tenants are not what they should be.
    #[error("{drifted} of {of} tenants differ from what the migrations make")]
    Drift {
        /// How many differ.
        drifted: usize,
        /// How many were checked.
        of: usize,
    },
    /// There is nobody to ask whether to go on.
    #[error("this is asked before it is done: confirm it with --yes, since there is no terminal to ask on")]
    Unconfirmed,
    /// The user does not want it.
    #[error("nothing was done")]
    Declined,
    /// Seeding failed.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The manual pages could not be written.
    #[error("cannot write the manual pages into {}", folder.display())]
    Manual {
        /// Where.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An archive was not written or read.
    #[error(transparent)]
    Archive(#[from] ArchiveCommandError),
    /// Some tenants failed.
    #[error("{} of {of} tenants failed: {}", failed.len(), failed.join(", "))]
    TenantsFailed {
        /// Their names.
        failed: Vec<String>,
        /// Of how many.
        of: usize,
    },
    /// Some tenants' turn did not come.
    #[error("{left} of {of} tenants are left; what was done stays{}", also_failed(failed))]
    TenantsLeft {
        /// How many are left.
        left: usize,
        /// Of how many.
        of: usize,
        /// Those that failed before.
        failed: Vec<String>,
        /// Why they are left, where it was not a signal.
        #[source]
        cause: Option<AdminError>,
    },
}

fn also_failed(tenants: &[String]) -> String {
    if tenants.is_empty() {
        return String::new();
    }
    format!("; {} failed: {}", tenants.len(), tenants.join(", "))
}

impl CommandError {
    /// Whether the command was not as it should be, rather than what it set out to do.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Url(_) | Self::Keys(_) | Self::Unauthenticated { .. } | Self::NoSecret => true,
            Self::Archive(error) => error.is_usage(),
            _ => false,
        }
    }
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
            Some(Command::Seed(SeedCommand::Demo(arguments))) => {
                administer(&arguments.database, &signals, async |database| {
                    Ok(seed::demo(&database.with_roles(&arguments.roles)).await?)
                })
                .await?;
                output::step("the demo is there: users 1 (tenant client1) and 2 (tenant client2)");
                Ok(())
            }
            Some(Command::Seed(SeedCommand::Bulk(arguments))) => {
                let plan = BulkPlan {
                    tenants: arguments.tenants,
                    users: arguments.users,
                    items: arguments.items,
                    orders: arguments.orders,
                };
                administer(&arguments.database, &signals, async |database| {
                    seed_bulk(&database.with_roles(&arguments.roles), plan).await
                })
                .await
            }
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
async fn administer<T>(
    settings: &DatabaseSettings,
    signals: &StopSignals,
    work: impl AsyncFnOnce(&Administration) -> Result<T, CommandError>,
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
    work: impl AsyncFnOnce(&Administration) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    with_database(settings, async |url| {
        unless_stopped(signals, async {
            let database = administration(url).await?;
            work(&database).await
        })
        .await
    })
    .await
}

/// A database for administration, over connections that are fit for that.
async fn administration(url: &DatabaseUrl) -> Result<Administration, CommandError> {
    let database = Administration::new(url)?;
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

async fn seed_bulk(database: &Administration, plan: BulkPlan) -> Result<(), CommandError> {
    let side_by_side = std::thread::available_parallelism()
        .map_or(1, NonZeroUsize::get)
        .min(8);
    let mut done = seed::bulk(database, plan, side_by_side).await?;
    let progress = output::Progress::new("tenants", plan.tenants.into());
    while let Some(tenant) = done.recv().await {
        tenant?;
        progress.advance();
    }
    progress.finish();
    Ok(())
}
