//! Predictions of a dry run: migrations that would fail because of objects that the tenants have.

use std::collections::BTreeMap;

use sqlx::{Connection, PgConnection};

use super::apply::SchemaUpgrade;
use super::effects::Effects;
use super::error::MigrationError;
use super::job::MigrationOutcome;
use super::source::Migrations;
use crate::admin::database::AdminDatabase;
use crate::admin::error::AdminError;
use crate::admin::runner::TenantReport;

/// Adds a failure to the report of each tenant for which a pending migration would fail: a name is taken, or the type of
/// a column cannot change. One query looks up all tenants with the same pending migrations, and takes no lock on their
/// tables.
pub(crate) async fn predict_failures(
    database: &AdminDatabase,
    reports: &mut [TenantReport<MigrationOutcome>],
) -> Result<(), AdminError> {
    let mut groups: BTreeMap<(Vec<i64>, &[String]), Vec<&str>> = BTreeMap::new();
    for report in reports.iter().filter(|report| report.error.is_none()) {
        let outcome = &report.outcome;
        let adoption = outcome.adoption.as_ref();
        let freed = adoption.map_or(&[][..], |adoption| &adoption.freed);
        let versions = outcome.upgrade.as_ref().map(new_versions).unwrap_or_default();
        let tenants = groups.entry((versions, freed)).or_default();
        tenants.push(report.tenant.as_str());
    }
    let migrations = &database.migrations().tenant;
    let mut connection = database.connect().await?;
    let mut predicted = BTreeMap::new();
    for ((versions, freed), tenants) in groups {
        let effects = Effects::new(freed, None);
        predicted.extend(predict(&mut connection, migrations, &versions, effects, &tenants).await?);
    }
    connection.close().await?;
    for report in reports {
        if let Some(reasons) = predicted.remove(report.tenant.as_str()) {
            report.error = Some(MigrationError::WouldFail { reasons }.into());
        }
    }
    Ok(())
}

/// Fails if one of the migrations of the shared schema would fail.
pub(crate) async fn predict_shared(
    database: &AdminDatabase,
    upgrade: &SchemaUpgrade,
) -> Result<(), AdminError> {
    let migrations = &database.migrations().shared;
    let effects = Effects::new(&[], Some("public"));
    let mut connection = database.connect().await?;
    let versions = new_versions(upgrade);
    let predicted = predict(&mut connection, migrations, &versions, effects, &["public"]).await?;
    connection.close().await?;
    match predicted.into_values().next() {
        Some(reasons) => Err(MigrationError::WouldFail { reasons }.into()),
        None => Ok(()),
    }
}

/// Returns the versions of migrations that were never begun. A repeated one skips the indexes that it has created.
fn new_versions(upgrade: &SchemaUpgrade) -> Vec<i64> {
    let steps = upgrade.steps.iter();
    steps
        .filter(|step| !step.is_repeated)
        .map(|step| step.version)
        .collect()
}

/// Returns the reasons for which migrations would fail, by schema.
async fn predict(
    connection: &mut PgConnection,
    migrations: &Migrations,
    versions: &[i64],
    mut effects: Effects,
    schemas: &[&str],
) -> Result<BTreeMap<String, Vec<String>>, AdminError> {
    for migration in versions.iter().filter_map(|version| migrations.get(*version)) {
        effects.add(migration);
    }
    // Names and numbers always serialize.
    let effects = serde_json::to_string(&effects.found).unwrap_or_default();
    let rows: Vec<(String, i64, String)> = sqlx::query_as(include_str!("predictions.sql"))
        .bind(schemas)
        .bind(effects)
        .fetch_all(connection)
        .await?;
    let mut predicted: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (schema, version, reason) in rows {
        let migration = migrations.get(version);
        let description = migration.map_or("", |migration| &migration.description);
        let reasons = predicted.entry(schema).or_default();
        reasons.push(format!("migration {version} ({description}): {reason}"));
    }
    Ok(predicted)
}
