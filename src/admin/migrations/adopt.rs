//! Adoption: a schema that this program did not create gets a migration history with a version as its
//! baseline, and is migrated from there.

use std::time::Duration;

use sqlx::migrate::{Migrate, MigrateError, Migration};
use sqlx::{Connection, PgConnection};

use super::baseline::{self, Adoption};
use super::error::MigrationError;
use super::history::{self, MigratedSchema};
use super::job::{Adopt, MigrateTenant};
use crate::admin::database::AdminDatabase;
use crate::admin::drift::Difference;
use crate::admin::drift::diff::diff;
use crate::admin::drift::expected;
use crate::admin::drift::snapshot::{self, SchemaSnapshot};
use crate::admin::error::AdminError;
use crate::admin::schema;
use crate::tenancy::SchemaName;

/// Maximum number of schemas in one query for snapshots.
const MAX_SNAPSHOTS: usize = 100;

impl MigrateTenant {
    /// Adopts `schema`, which the connection has locked, in one transaction: adds a migration history with the
    /// migrations up to a version, and changes nothing else. A dry run rolls the transaction back.
    ///
    /// With the compiled-in migrations, the tables, columns and primary keys of migration 1 are required.
    /// Differences that the migrations and the service can work with are accepted: lengths, `citext`, numbers or
    /// `uuid` for ids, any numeric type for prices and quantities, NOT NULL, defaults, foreign keys. An index with
    /// the name of migration 3's index is renamed. With other migrations, everything that they create is required.
    pub(super) async fn adopt_schema(
        &self,
        database: &AdminDatabase,
        connection: &mut PgConnection,
        schema: &SchemaName,
        lock_timeout: Duration,
        dry_run: bool,
    ) -> Result<Adoption, AdminError> {
        let migrations = &database.migrations().tenant;
        let mut transaction = connection.begin().await?;
        history::enter_schema(&mut transaction, MigratedSchema::Tenant(schema), lock_timeout).await?;
        let snapshot = snapshot::read_one(&mut transaction, schema).await?;
        schema::set_search_path(&mut transaction, schema).await?;
        let adoption = match self.adopt {
            Adopt::At(version) => Adoption {
                version,
                ..Adoption::default()
            },
            _ if migrations.has_compiled_in_baseline() => {
                baseline::adopt(&mut transaction, &snapshot).await?
            }
            _ => self.compare(database, &snapshot, schema).await?,
        };
        if migrations.get(adoption.version).is_none() {
            let version = adoption.version;
            return Err(MigrationError::UnknownBaseline { version }.into());
        }
        let table = MigratedSchema::Tenant(schema).history_table();
        let recorded = async {
            transaction.ensure_migrations_table(&table).await?;
            let is_adopted = |migration: &&Migration| migration.version <= adoption.version;
            for migration in migrations.iter().filter(is_adopted) {
                transaction.skip(&table, migration).await?;
            }
            Ok::<_, MigrateError>(())
        };
        recorded.await.map_err(sqlx::Error::from)?;
        if dry_run {
            transaction.rollback().await?;
        } else {
            transaction.commit().await?;
        }
        Ok(adoption)
    }

    /// Returns the baselines of those of `schemas` that can be adopted. Nothing is written that remains.
    pub(super) async fn find_baselines<'s>(
        &self,
        database: &AdminDatabase,
        schemas: &[&'s SchemaName],
    ) -> Result<Vec<(&'s str, i64)>, AdminError> {
        let fixed = match self.adopt {
            Adopt::No => return Ok(Vec::new()),
            Adopt::At(version) => Some(version),
            Adopt::Newest if database.migrations().tenant.has_compiled_in_baseline() => {
                Some(baseline::BASELINE_VERSION)
            }
            Adopt::Newest => None,
        };
        if let Some(version) = fixed {
            let schemas = schemas.iter().map(|schema| (schema.as_str(), version));
            return Ok(schemas.collect());
        }
        let mut baselines = Vec::new();
        for chunk in schemas.chunks(MAX_SNAPSHOTS) {
            let names: Vec<_> = chunk.iter().map(|schema| (*schema).clone()).collect();
            let mut connection = database.connect().await?;
            let mut snapshots = snapshot::read(&mut connection, &names).await?;
            connection.close().await?;
            for schema in chunk {
                let snapshot = snapshots.remove(schema.as_str()).unwrap_or_default();
                match self.compare(database, &snapshot, schema).await {
                    Ok(adoption) => baselines.push((schema.as_str(), adoption.version)),
                    Err(AdminError::Migration(MigrationError::NotAdoptable { .. })) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(baselines)
    }

    /// Finds the newest version for which `snapshot` contains all objects.
    async fn compare(
        &self,
        database: &AdminDatabase,
        snapshot: &SchemaSnapshot,
        schema: &SchemaName,
    ) -> Result<Adoption, AdminError> {
        let build = || async {
            let mut connection = database.connect().await?;
            let migrations = &database.migrations().tenant;
            let versions = migrations.iter().map(|migration| migration.version).collect();
            let expected = expected::build(&mut connection, migrations, &versions).await?;
            connection.close().await?;
            Ok::<_, AdminError>(expected)
        };
        let expected = self.expected.get_or_try_init(build).await?;
        let mut obstacles = Vec::new();
        for (&version, expected) in expected.range(1..).rev() {
            let mut differences = diff(expected, snapshot, schema);
            differences.retain(|difference| !difference.kind.is_access());
            let (extras, missing): (Vec<_>, Vec<_>) = differences.iter().partition(|found| found.is_extra());
            if missing.is_empty() {
                let extras = extras.into_iter().map(Difference::describe_found).collect();
                return Ok(Adoption {
                    version,
                    extras,
                    ..Adoption::default()
                });
            }
            // Those of the oldest version are reported.
            obstacles = missing.into_iter().map(Difference::describe_missing).collect();
        }
        Err(MigrationError::NotAdoptable { obstacles }.into())
    }
}
