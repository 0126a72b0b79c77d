//! Drift: what tenants are, against what the migrations make of them.

use data_encoding::HEXLOWER;
use serde::Serialize;
use sqlx::Connection;

use super::shape::{self, Difference, DifferenceKind, References};
use super::survey::{History, Misnamed, Tenant, survey};
use super::{AdminError, migrations};
use crate::admin::{database::AdminDatabase, history, history::AppliedMigration};
use crate::tenancy::SchemaName;

/// Schemas whose shapes are read at once, each time on a new connection: a backend remembers what it has
/// seen of the catalog.
const SHAPES_AT_ONCE: usize = 1000;

/// What was found about one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckedTenant {
    /// The name of its schema, or what users have in its place.
    pub tenant: String,
    /// The version that its history tells of, and that it was compared with; none where there is no
    /// history to be read.
    pub version: Option<i64>,
    /// In what it differs.
    pub differences: Vec<Difference>,
}

impl CheckedTenant {
    /// Whether it is not what it should be.
    #[must_use]
    pub fn has_drifted(&self) -> bool {
        self.differences.iter().any(Difference::is_drift)
    }
}

/// Compares all tenants, or those that are named, with what the migrations make at the version that each
/// of them is at, and looks for users and schemas that lack each other.
///
/// It takes a number of queries that does not depend on the number of tenants, but for one more for each
/// few hundred of them. Nothing is written, though the schema that tenants are compared with is made in a
/// transaction that is rolled back. Dropped half-way it leaves nothing behind.
///
/// # Errors
///
/// [`AdminError`] where the catalog or `public.users` cannot be read, or no schema can be made to compare
/// with.
pub async fn check(database: &AdminDatabase, only: &[SchemaName]) -> Result<Vec<CheckedTenant>, AdminError> {
    let mut checked = look(database, only).await?;
    // A migration may have come between a look at the history and one at the tables.
    let drifted: Vec<_> = checked
        .iter()
        .filter(|tenant| tenant.has_drifted())
        .filter_map(|tenant| SchemaName::parse(&tenant.tenant).ok())
        .collect();
    if !drifted.is_empty() {
        let again = look(database, &drifted).await?;
        let mut again = again.into_iter().peekable();
        for tenant in &mut checked {
            if let Some(newer) = again.next_if(|newer| newer.tenant == tenant.tenant) {
                *tenant = newer;
            }
        }
    }
    Ok(checked)
}

/// One look at the tenants, in the order of their names.
async fn look(database: &AdminDatabase, only: &[SchemaName]) -> Result<Vec<CheckedTenant>, AdminError> {
    let survey = survey(database, only).await?;
    let versions = survey.tenants.iter().filter_map(version_to_compare);
    let mut connection = database.connect().await?;
    let references = References::make(&mut connection, versions.max().unwrap_or(0)).await?;
    connection.close().await?;
    let mut checked = Vec::with_capacity(survey.tenants.len() + survey.misnamed.len());
    for chunk in survey.tenants.chunks(SHAPES_AT_ONCE) {
        checked.extend(compare(database, &references, chunk).await?);
    }
    checked.extend(survey.misnamed.into_iter().map(misnamed));
    Ok(checked)
}

async fn compare(
    database: &AdminDatabase,
    references: &References,
    tenants: &[Tenant],
) -> Result<Vec<CheckedTenant>, AdminError> {
    let schemas: Vec<_> = tenants.iter().map(|tenant| tenant.schema.clone()).collect();
    let mut connection = database.connect().await?;
    let mut shapes = shape::read(&mut connection, &schemas).await?;
    connection.close().await?;
    let checked = tenants.iter().map(|tenant| {
        let mut differences = differences_of_history(tenant);
        if tenant.users == 0 && tenant.history != History::NoSchema {
            differences.push(difference(
                DifferenceKind::Users,
                "public.users",
                Some("users that point at it"),
                None,
            ));
        }
        let reference = version_to_compare(tenant).and_then(|version| references.at(version));
        if let Some(reference) = reference {
            let shape = shapes.remove(tenant.schema.as_str()).unwrap_or_default();
            differences.extend(shape::differences(reference, &shape, &tenant.schema));
        }
        CheckedTenant {
            tenant: tenant.schema.as_str().to_owned(),
            version: tenant.version(),
            differences,
        }
    });
    Ok(checked.collect())
}

/// The version that the tenant's tables should be at; none where its history does not tell.
fn version_to_compare(tenant: &Tenant) -> Option<i64> {
    match &tenant.history {
        History::Empty => Some(0),
        History::Applied(history) => {
            let is_known = |applied: &AppliedMigration| {
                applied.success && migrations::TENANT.get(applied.version).is_some()
            };
            history.iter().all(is_known).then(|| migrations::version(history))
        }
        History::NoSchema | History::None | History::Unreadable(_) => None,
    }
}

fn differences_of_history(tenant: &Tenant) -> Vec<Difference> {
    match &tenant.history {
        History::Empty => Vec::new(),
        History::NoSchema => vec![difference(
            DifferenceKind::Schema,
            tenant.schema.as_str(),
            Some("a schema"),
            None,
        )],
        History::None => vec![difference(
            DifferenceKind::History,
            history::TABLE,
            Some("a migration history"),
            None,
        )],
        History::Unreadable(reason) => vec![difference(
            DifferenceKind::History,
            history::TABLE,
            Some("a migration history"),
            Some(reason),
        )],
        History::Applied(history) => differences_of_applied(history),
    }
}

fn differences_of_applied(history: &[AppliedMigration]) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut add = |version: i64, expected: Option<&str>, found: Option<&str>| {
        let object = format!("migration {version}");
        differences.push(difference(DifferenceKind::History, &object, expected, found));
    };
    for applied in history {
        match migrations::TENANT.get(applied.version) {
            None => add(applied.version, None, Some("applied")),
            Some(_) if !applied.success => {
                add(applied.version, Some("applied"), Some("begun and not finished"));
            }
            Some(migration) if *migration.checksum != *applied.checksum => add(
                applied.version,
                Some(&HEXLOWER.encode(&migration.checksum)),
                Some(&HEXLOWER.encode(&applied.checksum)),
            ),
            Some(_) => {}
        }
    }
    for migration in migrations::TENANT.iter() {
        let version = migration.version;
        let is_recorded = history.iter().any(|applied| applied.version == version);
        if version < migrations::version(history) && !is_recorded {
            add(version, Some("applied"), None);
        }
    }
    differences
}

fn misnamed(misnamed: Misnamed) -> CheckedTenant {
    let reason = misnamed.reason.to_string();
    CheckedTenant {
        differences: vec![difference(
            DifferenceKind::Schema,
            &misnamed.name,
            Some("a tenant's schema"),
            Some(&reason),
        )],
        tenant: misnamed.name,
        version: None,
    }
}

/// A difference that no SQL mends.
fn difference(kind: DifferenceKind, object: &str, expected: Option<&str>, found: Option<&str>) -> Difference {
    Difference {
        kind,
        object: object.to_owned(),
        expected: expected.map(str::to_owned),
        found: found.map(str::to_owned),
        fix: None,
    }
}
