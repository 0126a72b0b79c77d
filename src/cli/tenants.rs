//! `tenants`: `create`, `list`, `check` and `drop`. Other modules have the commands for queries, archives and
//! nodes.

use clap::{Args, Subcommand};

use super::archive::{self, ExportArguments, ImportArguments};
use super::database::{read_migrations, with_admin_database, with_readonly_admin_database};
use super::placement::{self, DistributeArguments, MoveArguments};
use super::query::{self, QueryArguments};
use super::{CommandError, confirm, output, report};
use crate::admin::drift::{self, DifferenceKind};
use crate::admin::tenants;
use crate::admin::tenants::drop::{self, RemainingUsers};
use crate::admin::tenants::roles::RoleRemoval;
use crate::config::{DatabaseSettings, MigrationSettings, RoleSettings};
use crate::server::StopSignals;

#[derive(Debug, Subcommand)]
pub(super) enum TenantsCommand {
    /// Create a tenant: its schema with all migrations
    ///
    /// If it fails, no part of the tenant is created.
    Create(CreateArguments),
    /// List all tenants with their users, version, state and size
    List(ListArguments),
    /// Run a query in the scope of each tenant
    ///
    /// The query runs in a read-only transaction with the tenant's schema as search path, and as the tenant's
    /// role if tenants have roles. A tenant whose query fails is reported, and the others continue; the exit
    /// status is then 1.
    Query(QueryArguments),
    /// Report drift: differences between tenants and what the migrations create
    ///
    /// Each tenant is compared with what the migrations create at the tenant's version: tables, columns,
    /// types, defaults, NOT NULL, keys, constraints, indexes, functions, triggers, sequences, policies, and
    /// the migration history; if tenants have roles, also grants and owners. The service's own statements
    /// are planned for each tenant, and the tables, columns and privileges that they lack are reported, as is a
    /// missing schema that users belong to. A tenant without users is reported, but is not drift. If a
    /// difference can be removed safely, its SQL is printed. Nothing is changed. The exit status is 1 if there
    /// is drift.
    Check(CheckArguments),
    /// Permanently drop a tenant: its schema with everything in it
    ///
    /// Asks for confirmation. Fails, and changes nothing, if the schema is not a tenant, if users still
    /// belong to it, or if objects outside the schema depend on it. Run it again after an interruption.
    Drop(DropArguments),
    /// Distribute tenants to the nodes of a Citus cluster
    ///
    /// New tenants are created on a node. Older ones are stored on the coordinator until this command
    /// moves them to a node. While the rows of a tenant are copied, the requests of all tenants wait: run it
    /// when there is little traffic. An interrupted run is completed by running it again.
    Distribute(DistributeArguments),
    /// Move a tenant to another node of a Citus cluster, without downtime for reads
    ///
    /// Prints the size, the method and its effect on requests, then asks for confirmation.
    Move(MoveArguments),
    /// Export a tenant and its users to an archive
    ///
    /// The archive is a consistent snapshot: tables with their rows, the migration history, and all columns
    /// of the users, including passwords. Objects that it cannot contain, such as views, are reported.
    Export(ExportArguments),
    /// Import a tenant from an archive
    ///
    /// Fails without changes if the schema exists, other users have the same ids, or the archive is damaged.
    /// The archive contains SQL that is run: import only archives that you trust.
    Import(ImportArguments),
}

#[derive(Debug, Args)]
pub(super) struct CreateArguments {
    /// Name of the schema
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    migrations: MigrationSettings,
    #[command(flatten)]
    roles: RoleSettings,
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    migrations: MigrationSettings,
}

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// Check only these tenants
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Ignore objects that the migrations do not create, such as tables, columns and functions
    #[arg(long)]
    ignore_extra: bool,
    /// Report only differences of this kind; repeatable, or separated by commas [default: all kinds; grant and
    /// owner only with --tenant-roles on]
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    only: Vec<DifferenceKind>,
    /// Print a JSON array, with the SQL for each tenant
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    migrations: MigrationSettings,
    #[command(flatten)]
    roles: RoleSettings,
}

#[derive(Debug, Args)]
pub(super) struct DropArguments {
    /// Name of the schema
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
    #[command(flatten)]
    migrations: MigrationSettings,
}

impl TenantsCommand {
    pub(super) async fn run(self, signals: &StopSignals) -> Result<(), CommandError> {
        match self {
            Self::Create(arguments) => create(arguments, signals).await,
            Self::List(arguments) => list(arguments, signals).await,
            Self::Query(arguments) => query::query(arguments, signals).await,
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
    let migrations = read_migrations(&arguments.migrations)?;
    with_admin_database(&arguments.database, signals, async |database| {
        let database = database.with_migrations(migrations).with_roles(&arguments.roles);
        let schema = database.schema_name(&arguments.name).await?;
        tenants::create(&database, &schema)
            .await
            .map_err(|error| CommandError::for_tenant(&schema, error))
    })
    .await?;
    output::status(&format!("created tenant {}", report::escape(&arguments.name)));
    Ok(())
}

async fn list(arguments: ListArguments, signals: &StopSignals) -> Result<(), CommandError> {
    let migrations = read_migrations(&arguments.migrations)?;
    with_readonly_admin_database(&arguments.database, signals, async |database| {
        let tenants = tenants::list(&database.with_migrations(migrations)).await?;
        if arguments.json {
            output::print_json(&tenants);
        } else {
            output::print(&report::table(&tenants, output::terminal_width()));
            for reason in tenants.iter().filter_map(|tenant| tenant.reason.as_deref()) {
                output::status(&format!("misnamed: {reason}"));
            }
        }
        Ok(())
    })
    .await
}

async fn check(arguments: CheckArguments, signals: &StopSignals) -> Result<(), CommandError> {
    let migrations = read_migrations(&arguments.migrations)?;
    let kinds = (!arguments.only.is_empty()).then_some(arguments.only);
    with_admin_database(&arguments.database, signals, async |database| {
        let names = database.schema_names(&arguments.names).await?;
        let database = database.with_migrations(migrations).with_roles(&arguments.roles);
        let mut checked = drift::check(&database, &names, kinds.as_deref()).await?;
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
                total: checked.len(),
            });
        }
        let tenants = report::count(checked.len(), "tenant");
        output::status(&format!("{tenants} without drift"));
        Ok(())
    })
    .await
}

async fn drop(arguments: DropArguments, signals: &StopSignals) -> Result<(), CommandError> {
    if !arguments.yes {
        confirm::require_terminal()?;
    }
    let users = if arguments.force {
        RemainingUsers::Orphan
    } else {
        RemainingUsers::Refuse
    };
    let name = report::escape(&arguments.name);
    let migrations = read_migrations(&arguments.migrations)?;
    with_admin_database(&arguments.database, signals, async |database| {
        let database = &database.with_migrations(migrations);
        let schema = database.schema_name(&arguments.name).await?;
        let not_dropped = |error| CommandError::for_tenant(&schema, error);
        if !arguments.yes {
            let contents = drop::inspect(database, &schema, users)
                .await
                .map_err(not_dropped)?;
            let question = format!("Permanently drop tenant {name}: {}?", report::contents(&contents));
            confirm::ask(&question).await?;
        }
        let dropped = drop::drop_tenant(database, &schema, users)
            .await
            .map_err(not_dropped)?;
        output::status(&format!("dropped tenant {name}: {}", report::contents(&dropped)));
        if let RoleRemoval::Kept(reason) = &dropped.role {
            output::status(&format!(
                "role {name} was not dropped: {}",
                report::escape(reason)
            ));
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
