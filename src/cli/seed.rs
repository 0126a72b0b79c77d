//! `seed`: creates demo or load-test data.

use std::num::NonZeroUsize;

use clap::{Args, Subcommand};
use futures_util::TryStreamExt;

use super::database::{read_migrations, with_admin_database};
use super::database_wait::wait_for_database;
use super::{CommandError, output};
use crate::admin::AdminDatabase;
use crate::config::{DatabaseSettings, MigrationSettings, RoleSettings, WaitSettings};
use crate::seed::{self, BulkPlan};
use crate::server::StopSignals;

#[derive(Debug, Subcommand)]
pub(super) enum SeedCommand {
    /// Create two users in two tenants with the same items at different prices
    Demo(SeedSettings),
    /// Create tenants t1, t2, … with users t1-u1, t1-u2, …
    Bulk(BulkArguments),
}

#[derive(Debug, Args)]
pub(super) struct SeedSettings {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    wait: WaitSettings,
    #[command(flatten)]
    migrations: MigrationSettings,
    #[command(flatten)]
    roles: RoleSettings,
}

#[derive(Debug, Args)]
pub(super) struct BulkArguments {
    /// Number of tenants
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tenants: u32,
    /// Number of users per tenant
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: u32,
    /// Number of items per tenant
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    items: u32,
    /// Number of orders per user
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    orders: u32,
    #[command(flatten)]
    settings: SeedSettings,
}

impl SeedCommand {
    pub(super) async fn run(self, signals: &StopSignals) -> Result<(), CommandError> {
        match self {
            Self::Demo(settings) => {
                let demo = async |database: &AdminDatabase| Ok(seed::demo(database).await?);
                settings.run(signals, demo).await?;
                output::status("demo data is ready: user 1 in tenant client1, user 2 in tenant client2");
                Ok(())
            }
            Self::Bulk(arguments) => {
                let plan = BulkPlan {
                    tenants: arguments.tenants,
                    users: arguments.users,
                    items: arguments.items,
                    orders: arguments.orders,
                };
                let bulk = async |database: &AdminDatabase| create_bulk(database, plan).await;
                arguments.settings.run(signals, bulk).await
            }
        }
    }
}

impl SeedSettings {
    /// Runs `work` on the database with these settings.
    async fn run(
        &self,
        signals: &StopSignals,
        work: impl AsyncFnOnce(&AdminDatabase) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let migrations = read_migrations(&self.migrations)?;
        wait_for_database(&self.wait, &self.database, signals).await?;
        with_admin_database(&self.database, signals, async |database| {
            let database = database.with_migrations(migrations).with_roles(&self.roles);
            work(&database).await
        })
        .await
    }
}

async fn create_bulk(database: &AdminDatabase, plan: BulkPlan) -> Result<(), CommandError> {
    let concurrency = std::thread::available_parallelism()
        .map_or(1, NonZeroUsize::get)
        .min(8);
    let mut results = seed::bulk(database, plan, concurrency).await?;
    let progress = output::Progress::new("tenants", plan.tenants.into());
    while results.try_next().await?.is_some() {
        progress.advance();
    }
    progress.finish();
    Ok(())
}
