//! Migration of one tenant: its schema, and its role if tenants have roles.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::sync::OnceCell;

use super::apply::{SchemaUpgrade, apply_all};
use super::baseline::Adoption;
use super::error::MigrationError;
use super::history::{self, MigratedSchema};
use super::source;
use crate::admin::database::AdminDatabase;
use crate::admin::drift::expected::ExpectedSchemas;
use crate::admin::error::AdminError;
use crate::admin::runner::{TenantJob, TenantReport};
use crate::admin::schema;
use crate::admin::servable;
use crate::admin::tenants::roles;
use crate::tenancy::SchemaName;

/// Applies the pending migrations of a tenant.
#[derive(Debug, Clone, Default)]
pub(crate) struct MigrateTenant {
    pub(super) adopt: Adopt,
    /// Built once, for the first adoption that needs them.
    pub(super) expected: Arc<OnceCell<ExpectedSchemas>>,
}

impl MigrateTenant {
    /// Returns the job. Schemas that another program created are adopted as `adopt` says.
    pub(crate) fn new(adopt: Adopt) -> Self {
        let expected = Arc::default();
        Self { adopt, expected }
    }
}

/// The version at which schemas of other programs are adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Adopt {
    /// They are not adopted.
    #[default]
    No,
    /// The newest version for which the schema has all tables. With the compiled-in migrations, this is version 1.
    Newest,
    /// This version, without a comparison.
    At(i64),
}

/// The changes to one tenant, also those before a failure.
#[derive(Debug, Default)]
pub(crate) struct MigrationOutcome {
    /// Migrations of the schema; `None` if its history was not read.
    pub(crate) upgrade: Option<SchemaUpgrade>,
    /// Adoption of the schema; `None` if it was not necessary.
    pub(crate) adoption: Option<Adoption>,
    /// `true` if the tenant's role was created or got missing privileges.
    pub(crate) role_updated: bool,
}

impl TenantJob for MigrateTenant {
    type Outcome = MigrationOutcome;

    async fn attempt(
        &self,
        database: &AdminDatabase,
        connection: &mut PgConnection,
        tenant: &SchemaName,
        lock_timeout: Duration,
        outcome: &mut MigrationOutcome,
    ) -> Result<(), AdminError> {
        self.attempt_schema(database, connection, tenant, lock_timeout, outcome)
            .await?;
        if database.roles().is_enabled() {
            let mut transaction = connection.begin().await?;
            history::enter_schema(&mut transaction, MigratedSchema::Tenant(tenant), lock_timeout).await?;
            outcome.role_updated |= roles::ensure(&mut transaction, tenant, database.roles()).await?;
            transaction.commit().await?;
        }
        let tenants = std::slice::from_ref(tenant);
        let obstacles = servable::check_on(connection, tenants, database.roles().is_enabled()).await?;
        match obstacles.into_values().next() {
            Some(reasons) => Err(MigrationError::NotServable { reasons }.into()),
            None => Ok(()),
        }
    }
}

impl MigrateTenant {
    async fn attempt_schema(
        &self,
        database: &AdminDatabase,
        connection: &mut PgConnection,
        tenant: &SchemaName,
        lock_timeout: Duration,
        outcome: &mut MigrationOutcome,
    ) -> Result<(), AdminError> {
        let place = MigratedSchema::Tenant(tenant);
        let history_moved = history::move_legacy(connection, place, lock_timeout).await?;
        let history = match history::read(connection, place).await? {
            Some(history) => history.applied,
            None if !schema::exists(connection, tenant).await? => return Err(AdminError::NoSuchSchema),
            None if schema::is_empty(connection, tenant).await? => Vec::new(),
            None if self.adopt != Adopt::No => {
                let adopted = self.adopt_schema(database, connection, tenant, lock_timeout, false);
                outcome.adoption = Some(adopted.await?);
                let history = history::read(connection, place).await?;
                history.unwrap_or_default().applied
            }
            None => return Err(MigrationError::Unadopted.into()),
        };
        // After a failed attempt the version before the first attempt is kept.
        let upgrade = outcome
            .upgrade
            .get_or_insert_with(|| SchemaUpgrade::from_version(source::version(&history)));
        upgrade.history_moved |= history_moved;
        let pending = database.migrations().tenant.pending(&history)?;
        apply_all(connection, place, pending, lock_timeout, upgrade).await
    }
}

/// Returns a report for each of these tenants, which have all migrations and the given versions. It is a failure if
/// the service cannot read the tenant.
pub(crate) async fn verify_current(
    database: &AdminDatabase,
    tenants: &[(SchemaName, i64)],
) -> Result<Vec<TenantReport<MigrationOutcome>>, AdminError> {
    let schemas: Vec<_> = tenants.iter().map(|(schema, _)| schema.clone()).collect();
    let mut obstacles = servable::check(database, &schemas).await?;
    let reports = tenants.iter().map(|(schema, version)| TenantReport {
        tenant: schema.clone(),
        outcome: MigrationOutcome {
            upgrade: Some(SchemaUpgrade::from_version(*version)),
            ..MigrationOutcome::default()
        },
        duration: Duration::ZERO,
        error: obstacles
            .remove(schema.as_str())
            .map(|reasons| MigrationError::NotServable { reasons }.into()),
    });
    Ok(reports.collect())
}
