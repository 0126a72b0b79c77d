//! Tenants as a whole.

use sqlx::Connection;

use super::{AdminError, migrate};
use crate::tenancy::{Administration, SchemaName, administration};

/// Creates the tenant's schema with all migrations, or nothing at all; whether it was missing.
///
/// # Errors
///
/// [`AdminError`].
pub async fn create_if_missing(database: &Administration, schema: &SchemaName) -> Result<bool, AdminError> {
    let mut connection = database.connect().await?;
    administration::lock(&mut connection, schema.as_str()).await?;
    let missing = !administration::exists(&mut connection, schema).await?;
    if missing {
        let mut transaction = connection.begin().await?;
        administration::create(&mut transaction, schema).await?;
        migrate::tenant_on(&mut transaction, schema).await?;
        transaction.commit().await?;
    }
    connection.close().await?;
    Ok(missing)
}
