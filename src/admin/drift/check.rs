//! The drift check: tenants compared with what the migrations create.

use data_encoding::HEXLOWER;
use serde::Serialize;
use sqlx::migrate::Migration;
use sqlx::{Connection, PgConnection};

use super::diff::diff;
use super::difference::{Difference, DifferenceKind};
use super::expected::{self, ExpectedSchemas};
use super::tenant_entry::{HistoryState, MisnamedTenant, TenantEntry};
use super::{inventory, snapshot};
use crate::admin::database::AdminDatabase;
use crate::admin::error::AdminError;
use crate::admin::migrations::baseline;
use crate::admin::migrations::history;
use crate::admin::migrations::source::{self, AppliedMigration, Migrations};
use crate::admin::servable;
use crate::tenancy::SchemaName;

/// Maximum number of snapshots per connection, and in memory at once: a backend caches the catalog entries that it
/// has read.
const MAX_SNAPSHOTS_PER_CONNECTION: usize = 100;

/// The differences of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct CheckedTenant {
    /// Name of its schema, or a value of `organization_id` that cannot be one.
    pub(crate) tenant: String,
    /// Version in its history, which it was compared with; `None` if there is no readable history.
    pub(crate) version: Option<i64>,
    pub(crate) differences: Vec<Difference>,
}

impl CheckedTenant {
    /// Returns whether the tenant has drifted.
    pub(crate) fn has_drifted(&self) -> bool {
        self.differences.iter().any(Difference::is_drift)
    }
}

/// Compares all tenants, or those in `only`, with what the migrations create at each tenant's version, and
/// reports users without a tenant, tenants without users, and tenants that cannot be served.
///
/// Only differences of these kinds are returned; `None`: of all kinds, but those of access only if tenants have roles.
///
/// The number of statements is fixed, apart from a few for each hundred tenants. Nothing is written; the
/// expected schema is created in a transaction that is rolled back. Cancel-safe.
pub(crate) async fn check(
    database: &AdminDatabase,
    only: &[SchemaName],
    kinds: Option<&[DifferenceKind]>,
) -> Result<Vec<CheckedTenant>, AdminError> {
    let inventory = inventory::read(database, only).await?;
    let mut checked = check_tenants(database, &inventory.tenants, kinds).await?;
    // A migration may have run between the reads of the history and of the tables.
    let drifted = inventory.tenants.iter().zip(&checked);
    let drifted = drifted.filter(|(_, checked)| checked.has_drifted());
    let drifted: Vec<_> = drifted.map(|(tenant, _)| tenant.schema.clone()).collect();
    if !drifted.is_empty() {
        let drifted = inventory::read(database, &drifted).await?.tenants;
        let rechecked = check_tenants(database, &drifted, kinds).await?;
        let mut rechecked = rechecked.into_iter().peekable();
        for tenant in &mut checked {
            if let Some(newer) = rechecked.next_if(|newer| newer.tenant == tenant.tenant) {
                *tenant = newer;
            }
        }
    }
    if kinds.is_none_or(|kinds| kinds.contains(&DifferenceKind::Schema)) {
        checked.extend(inventory.misnamed.into_iter().map(check_misnamed));
    }
    Ok(checked)
}

/// Checks the tenants in the order of their names.
async fn check_tenants(
    database: &AdminDatabase,
    tenants: &[TenantEntry],
    kinds: Option<&[DifferenceKind]>,
) -> Result<Vec<CheckedTenant>, AdminError> {
    let migrations = &database.migrations().tenant;
    let versions = tenants
        .iter()
        .filter_map(|tenant| comparable_version(tenant, migrations));
    let mut connection = database.connect().await?;
    let expected = expected::build(&mut connection, migrations, &versions.collect()).await?;
    connection.close().await?;
    let compare = async |connection: &mut PgConnection, chunk: &[TenantEntry]| {
        compare(connection, migrations, &expected, chunk).await
    };
    let compared = database.map_chunks(tenants, MAX_SNAPSHOTS_PER_CONNECTION, compare);
    let mut checked = compared.await?.concat();
    let existing = tenants.iter().filter(|tenant| tenant.exists());
    let existing: Vec<_> = existing.map(|tenant| tenant.schema.clone()).collect();
    let mut obstacles = servable::check(database, &existing).await?;
    let is_selected = |difference: &Difference| match kinds {
        Some(kinds) => kinds.contains(&difference.kind),
        None => !difference.kind.is_access() || database.roles().is_enabled(),
    };
    for tenant in &mut checked {
        let reasons = obstacles.remove(&tenant.tenant).unwrap_or_default();
        tenant
            .differences
            .extend(reasons.into_iter().map(|reason| Difference {
                found: Some(reason),
                ..Difference::missing(DifferenceKind::Service, "orders", "readable")
            }));
        tenant.differences.retain(is_selected);
    }
    Ok(checked)
}

async fn compare(
    connection: &mut PgConnection,
    migrations: &Migrations,
    expected: &ExpectedSchemas,
    tenants: &[TenantEntry],
) -> Result<Vec<CheckedTenant>, AdminError> {
    let schemas: Vec<_> = tenants.iter().map(|tenant| tenant.schema.clone()).collect();
    let mut snapshots = snapshot::read(connection, &schemas).await?;
    let checked = tenants.iter().map(|tenant| {
        let name = tenant.schema.as_str();
        let mut differences = compare_history(tenant, migrations);
        if tenant.users == 0 && tenant.exists() {
            let kind = DifferenceKind::Users;
            differences.push(Difference::missing(kind, "public.users", "at least one user"));
        }
        let version = comparable_version(tenant, migrations);
        if let Some(expected) = version.and_then(|version| expected.get(&version)) {
            let snapshot = snapshots.remove(name).unwrap_or_default();
            differences.extend(diff(expected, &snapshot, &tenant.schema));
            if migrations.has_compiled_in_baseline() {
                differences.iter_mut().for_each(accept_type);
            }
        }
        CheckedTenant {
            tenant: name.to_owned(),
            version: tenant.version(),
            differences,
        }
    });
    Ok(checked.collect())
}

/// Marks a type as supported if an adoption accepts it, and it cannot be changed safely.
fn accept_type(difference: &mut Difference) {
    if let (DifferenceKind::Type, None) = (difference.kind, &difference.fix)
        && let (Some(expected), Some(found)) = (&difference.expected, &difference.found)
        && baseline::accepts_type(&difference.object, expected, found)
    {
        difference.kind = DifferenceKind::SupportedType;
    }
}

/// Returns the version at which the tenant's tables can be compared, or `None` if its history is missing,
/// unreadable, or contains unknown or unfinished migrations.
fn comparable_version(tenant: &TenantEntry, migrations: &Migrations) -> Option<i64> {
    match &tenant.history {
        HistoryState::Empty => Some(0),
        HistoryState::Applied(history) => {
            let is_known =
                |applied: &AppliedMigration| applied.success && migrations.get(applied.version).is_some();
            history.iter().all(is_known).then(|| source::version(history))
        }
        HistoryState::NoSchema | HistoryState::None | HistoryState::Unreadable(_) => None,
    }
}

fn compare_history(tenant: &TenantEntry, migrations: &Migrations) -> Vec<Difference> {
    let no_history = Difference::missing(DifferenceKind::History, history::TABLE, "a migration history");
    match &tenant.history {
        HistoryState::Empty => Vec::new(),
        HistoryState::Applied(history) => compare_applied(history, migrations),
        HistoryState::NoSchema => {
            let kind = DifferenceKind::Schema;
            vec![Difference::missing(kind, tenant.schema.as_str(), "a schema")]
        }
        HistoryState::None => vec![no_history],
        HistoryState::Unreadable(reason) => vec![Difference {
            found: Some(reason.clone()),
            ..no_history
        }],
    }
}

fn compare_applied(history: &[AppliedMigration], migrations: &Migrations) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut add = |version: i64, expected: Option<&str>, found: Option<&str>| {
        differences.push(Difference {
            kind: DifferenceKind::History,
            object: format!("migration {version}"),
            expected: expected.map(str::to_owned),
            found: found.map(str::to_owned),
            fix: None,
        });
    };
    for applied in history {
        match migrations.get(applied.version) {
            None => add(applied.version, None, Some("applied")),
            Some(_) if !applied.success => add(applied.version, Some("applied"), Some("unfinished")),
            Some(migration) if *migration.checksum != *applied.checksum => add(
                applied.version,
                Some(&HEXLOWER.encode(&migration.checksum)),
                Some(&HEXLOWER.encode(&applied.checksum)),
            ),
            Some(_) => {}
        }
    }
    let last = history.iter().map(|applied| applied.version).max();
    for Migration { version, .. } in migrations.iter() {
        let is_recorded = history.iter().any(|applied| applied.version == *version);
        if Some(*version) < last && !is_recorded {
            add(*version, Some("applied"), None);
        }
    }
    differences
}

fn check_misnamed(misnamed: MisnamedTenant) -> CheckedTenant {
    let difference = Difference {
        found: Some(misnamed.reason.to_string()),
        ..Difference::missing(DifferenceKind::Schema, &misnamed.name, "a tenant's schema")
    };
    CheckedTenant {
        differences: vec![difference],
        tenant: misnamed.name,
        version: None,
    }
}
