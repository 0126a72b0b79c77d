//! Creation of tenants.

use sqlx::Connection;

use super::roles;
use crate::admin::database::AdminDatabase;
use crate::admin::error::AdminError;
use crate::admin::migrations::{apply_to_new_schema, migrate_shared};
use crate::admin::retry::RetryPolicy;
use crate::admin::{advisory_lock, citus, schema};
use crate::tenancy::SchemaName;

/// Migrates the shared schema, and then creates a tenant: its schema with all migrations, and its role if
/// tenants have roles. If it fails, no part of the tenant is created.
///
/// # Errors
///
/// [`AdminError::SchemaExists`] if the schema exists already; any other [`AdminError`] if a statement failed.
pub async fn create(database: &AdminDatabase, schema: &SchemaName) -> Result<(), AdminError> {
    let mut connection = database.connect().await?;
    let exists = schema::exists(&mut connection, schema).await?;
    connection.close().await?;
    if exists {
        return Err(AdminError::SchemaExists);
    }
    migrate_shared(database, RetryPolicy::default()).await?;
    if create_if_missing(database, schema).await? {
        Ok(())
    } else {
        Err(AdminError::SchemaExists) // another session created it meanwhile
    }
}

/// Creates the tenant's schema with all migrations, and its role if tenants have roles, in one transaction.
/// Returns whether the schema was missing. An existing schema is not changed, but gets its role.
///
/// # Errors
///
/// [`AdminError`] if a statement failed.
pub async fn create_if_missing(database: &AdminDatabase, schema: &SchemaName) -> Result<bool, AdminError> {
    let mut connection = database.connect().await?;
    advisory_lock::lock(&mut connection, schema.as_str()).await?;
    let missing = !schema::exists(&mut connection, schema).await?;
    let mut transaction = connection.begin().await?;
    if missing {
        citus::create_schema(&mut transaction, schema).await?;
        apply_to_new_schema(&mut transaction, &database.migrations().tenant, schema).await?;
    }
    if database.roles().is_enabled() {
        roles::ensure(&mut transaction, schema, database.roles()).await?;
    }
    transaction.commit().await?;
    connection.close().await?;
    Ok(missing)
}
