//! `tenants`: commands for single tenants.

use clap::Subcommand;

use super::CommandError;
use super::archive::{self, ExportArguments, ImportArguments};
use crate::server::StopSignals;

#[derive(Debug, Subcommand)]
pub(super) enum TenantsCommand {
    /// Write one tenant, with its users, to an archive
    Export(ExportArguments),
    /// Make a tenant out of an archive: all of it or nothing
    Import(ImportArguments),
}

pub(super) async fn run(command: TenantsCommand, signals: &StopSignals) -> Result<(), CommandError> {
    match command {
        TenantsCommand::Export(arguments) => archive::export(arguments, signals).await,
        TenantsCommand::Import(arguments) => archive::import(arguments, signals).await,
    }
}
