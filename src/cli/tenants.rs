//! `tenants`: making, listing, checking and dropping them; archives and nodes are elsewhere.

use clap::{Args, Subcommand};

use super::archive::{self, ExportArguments, ImportArguments};
use super::placement::{self, DistributeArguments, MoveArguments};
use super::{
    CommandError, confirm, output, parse_schemas, report, with_admin_database, with_readonly_admin_database,
};
use crate::admin::tenants::drop::{self, DropError, RemainingUsers};
use crate::admin::tenants::roles::RoleRemoval;
use crate::admin::{AdminError, check, tenants};
use crate::config::{DatabaseSettings, RoleSettings};
use crate::server::StopSignals;
use crate::tenancy::SchemaName;

#[derive(Debug, Subcommand)]
pub(super) enum TenantsCommand {
    /// Make a tenant: its schema with all migrations, or nothing at all
    Create(CreateArguments),
    /// Tell of all tenants: their users, version, state and size
    List(ListArguments),
    /// Tell in what tenants differ from what the migrations make; exit status 1 where any does
    ///
    /// Each tenant is compared with what the migrations make at the version that it is at: tables,
    /// columns, types, defaults, NOT NULL, keys, constraints, indexes, and its migration history.
    /// Schemas that users point at and that do not exist are told of too; so are tenants that nobody
    /// points at, which is a remark and no difference. Where a difference can be mended without harm, the
    /// SQL is told. Nothing is changed.
    Check(CheckArguments),
    /// Permanently drop a tenant: its schema with everything in it
    ///
    /// Asks for confirmation. Fails, and changes nothing, if the schema is not a tenant, if users still
    /// belong to it, or if objects outside the schema depend on it. Run it again after an interruption.
    Drop(DropArguments),
    /// Put tenants on the nodes of a Citus cluster, where they are not yet
    ///
    /// A tenant that is new is put on one when it is made. One that was there before lies where the database
    /// is, until this puts it on a node. While the rows of one are copied, the requests of all tenants wait:
    /// run it when there is little to do. A run that was cut off is finished by another one.
    Distribute(DistributeArguments),
    /// Move a tenant to another node of a Citus cluster, while it is served
    ///
    /// What the move takes, and who waits for it, is told before it begins.
    Move(MoveArguments),
    /// Write a tenant, with its users, to an archive
    ///
    /// It is of one moment: its tables with their rows, its migration history, and all columns of its
    /// users, passwords too. What it does not hold, such as views, is told of.
    Export(ExportArguments),
    /// Make a tenant out of an archive: all of it, or nothing at all
    ///
    /// Refused where there is such a schema, where others have the ids of its users, and where the archive
    /// is not what was written. It holds SQL, which is run: import what you trust.
    Import(ImportArguments),
}

#[derive(Debug, Args)]
pub(super) struct CreateArguments {
    /// The name of its schema
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    roles: RoleSettings,
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// As a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseSettings,
}

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// Only these tenants
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Pass over tables, columns, constraints and indexes that no migration makes
    #[arg(long)]
    ignore_extra: bool,
    /// As a JSON array, with the SQL for each tenant
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseSettings,
}

#[derive(Debug, Args)]
pub(super) struct DropArguments {
    /// The name of its schema
    #[arg(value_name = "NAME")]
    name: String,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    /// Drop the tenant although users belong to it; they remain, and get 503 tenant-unavailable
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    database: DatabaseSettings,
}

impl TenantsCommand {
    pub(super) async fn run(self, signals: &StopSignals) -> Result<(), CommandError> {
        match self {
            Self::Create(arguments) => create(arguments, signals).await,
            Self::List(arguments) => list(arguments, signals).await,
            Self::Check(arguments) => check(arguments, signals).await,
            Self::Drop(arguments) => drop(arguments, signals).await,
            Self::Distribute(arguments) => placement::distribute(arguments, signals).await,
            Self::Move(arguments) => Box::pin(placement::move_tenant(arguments, signals)).await,
            Self::Export(arguments) => archive::export(arguments, signals).await,
            Self::Import(arguments) => archive::import(arguments, signals).await,
        }
    }
}

async fn create(arguments: CreateArguments, signals: &StopSignals) -> Result<(), CommandError> {
    let schema = SchemaName::parse(&arguments.name)?;
    with_admin_database(&arguments.database, signals, async |database| {
        tenants::create(&database.with_roles(&arguments.roles), &schema)
            .await
            .map_err(|error| of_tenant(&schema, error))
    })
    .await?;
    output::status(&format!("{}: created", report::shown(schema.as_str())));
    Ok(())
}

async fn list(arguments: ListArguments, signals: &StopSignals) -> Result<(), CommandError> {
    with_readonly_admin_database(&arguments.database, signals, async |database| {
        let tenants = tenants::list(database).await?;
        if arguments.json {
            output::print_json(&tenants);
        } else {
            output::print(&report::table(&tenants, output::terminal_width()));
        }
        Ok(())
    })
    .await
}

async fn check(arguments: CheckArguments, signals: &StopSignals) -> Result<(), CommandError> {
    let names = parse_schemas(&arguments.names)?;
    with_admin_database(&arguments.database, signals, async |database| {
        let mut checked = check::check(database, &names).await?;
        if arguments.ignore_extra {
            for tenant in &mut checked {
                tenant.differences.retain(|difference| !difference.is_extra());
            }
        }
        if arguments.json {
            output::print_json(&checked);
        } else {
            output::print(&report::drift(&checked));
        }
        let drifted = checked.iter().filter(|tenant| tenant.has_drifted()).count();
        if drifted > 0 {
            return Err(CommandError::Drift {
                drifted,
                of: checked.len(),
            });
        }
        output::status(&format!("no drift; tenants checked: {}", checked.len()));
        Ok(())
    })
    .await
}

async fn drop(arguments: DropArguments, signals: &StopSignals) -> Result<(), CommandError> {
    let schema = SchemaName::parse(&arguments.name)?;
    if !arguments.yes && !confirm::is_interactive() {
        return Err(CommandError::Unconfirmed);
    }
    let users = if arguments.force {
        RemainingUsers::Orphan
    } else {
        RemainingUsers::Refuse
    };
    let name = report::shown(schema.as_str());
    let not_dropped = |source: DropError| CommandError::Drop {
        name: schema.as_str().to_owned(),
        source,
    };
    with_admin_database(&arguments.database, signals, async |database| {
        if !arguments.yes {
            let contents = drop::inspect(database, &schema, users)
                .await
                .map_err(not_dropped)?;
            let question = format!("Permanently drop tenant {name}: {}?", report::contents(&contents));
            if !confirm::ask(&question).await {
                return Err(CommandError::Declined);
            }
        }
        let dropped = drop::drop_tenant(database, &schema, users)
            .await
            .map_err(not_dropped)?;
        output::status(&format!("{name}: dropped {}", report::contents(&dropped)));
        if let RoleRemoval::Kept(reason) = &dropped.role {
            output::status(&format!("role {name} was not dropped: {}", report::shown(reason)));
        }
        if dropped.users > 0 {
            output::status(&format!(
                "users that still belong to it, and get 503 tenant-unavailable: {}",
                dropped.users
            ));
        }
        Ok(())
    })
    .await
}

/// A failure with the name of the tenant that it is about.
/// `source` is why the work on `schema` failed.
pub(super) fn of_tenant(schema: &SchemaName, source: AdminError) -> CommandError {
    CommandError::Tenant {
        name: schema.as_str().to_owned(),
        source,
    }
}
