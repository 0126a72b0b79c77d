//! The expected schema: snapshots of what the migrations create.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};

use sqlx::{Connection, PgConnection, raw_sql};

use super::snapshot::{self, SchemaSnapshot};
use crate::admin::error::AdminError;
use crate::admin::migrations::source::Migrations;
use crate::admin::migrations::statements;
use crate::admin::schema;
use crate::tenancy::SchemaName;

/// The expected schema of a tenant at each version. Version 0 is the empty schema.
pub(in crate::admin) type ExpectedSchemas = BTreeMap<i64, SchemaSnapshot>;

/// Takes the snapshots at `versions`, by running the migrations in a temporary schema. The
/// transaction is rolled back. For its few milliseconds `public.users` is locked against writes, since a
/// foreign key refers to it. Changes the search path of the session. Fails if the role may not create a schema,
/// `public.users` cannot be referred to, or another session writes to it for longer than the lock timeout.
pub(in crate::admin) async fn build(
    connection: &mut PgConnection,
    migrations: &Migrations,
    versions: &BTreeSet<i64>,
) -> Result<ExpectedSchemas, AdminError> {
    let mut snapshots = BTreeMap::from([(0, SchemaSnapshot::default())]);
    let last = versions.last().copied().unwrap_or_default();
    if last == 0 {
        return Ok(snapshots);
    }
    let schema = temporary_name();
    let mut transaction = connection.begin().await?;
    // Citus must not propagate the temporary schema to its nodes.
    raw_sql("SET LOCAL lock_timeout TO '5s'; SET LOCAL citus.enable_ddl_propagation TO off")
        .execute(&mut *transaction)
        .await?;
    schema::create(&mut transaction, &schema).await?;
    for migration in migrations.iter().filter(|migration| migration.version <= last) {
        schema::set_search_path(&mut transaction, &schema).await?;
        for statement in statements::in_transaction(migration) {
            statement.run(&mut transaction).await?;
        }
        if versions.contains(&migration.version) {
            let snapshot = snapshot::read_one(&mut transaction, &schema).await?;
            snapshots.insert(migration.version, snapshot);
        }
    }
    transaction.rollback().await?;
    Ok(snapshots)
}

/// Returns a random name that no schema has.
#[expect(clippy::expect_used, reason = "the name is short and not reserved")]
fn temporary_name() -> SchemaName {
    let random = RandomState::new().build_hasher().finish();
    SchemaName::parse(&format!("tenant-orders expected {random:x}")).expect("a valid schema name")
}
