//! Tenants as a whole.

use sqlx::Connection;

use super::{AdminError, migrate};
use crate::tenancy::{Database, SchemaName, dedicated};

/// Creates the tenant's schema with all migrations, or nothing at all; whether it was missing.
///
/// # Errors
///
/// [`AdminError`].
pub async fn create_if_missing(database: &Database, schema: &SchemaName) -> Result<bool, AdminError> {
    let mut connection = database.dedicated().await?;
    dedicated::lock(&mut connection, schema.as_str()).await?;
    let missing = !dedicated::exists(&mut connection, schema).await?;
    if missing {
        let mut transaction = connection.begin().await?;
        dedicated::create(&mut transaction, schema).await?;
        migrate::tenant_on(&mut transaction, schema).await?;
        transaction.commit().await?;
    }
    connection.close().await?;
    Ok(missing)
}
