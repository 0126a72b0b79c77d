//! A read-only query in the scope of each tenant.

use std::time::Duration;

use sqlx::{Connection, PgConnection, Row};

use crate::admin::database::AdminDatabase;
use crate::admin::drift::inventory;
use crate::admin::error::AdminError;
use crate::admin::generated_sql::GeneratedSql;
use crate::admin::runner::TenantJob;
use crate::tenancy::SchemaName;

/// Sets the scope of the open transaction: `$1` is the tenant, `$2` the timeout in milliseconds, `$3` the role, or NULL
/// for the session's.
const SCOPE: &str = "
    SELECT pg_catalog.set_config('search_path', pg_catalog.quote_ident($1) || ', pg_temp', true),
           pg_catalog.set_config('statement_timeout', $2, true),
           CASE WHEN $3 IS NOT NULL THEN pg_catalog.set_config('role', $3, true) END";

/// A query in the scope of one tenant, in a read-only transaction.
#[derive(Debug, Clone)]
pub struct QueryTenant {
    /// The query: one statement that returns rows.
    pub sql: String,
    /// Maximum time that it takes.
    pub timeout: Duration,
}

/// Columns of a row with their values; `None` for NULL.
pub type TextRow = Vec<(String, Option<String>)>;

/// The rows of one tenant.
#[derive(Debug, Default)]
pub struct QueriedRows {
    /// Each row as a JSON object, with the columns in their order.
    pub json: Vec<String>,
    /// The same rows as text.
    pub text: Vec<TextRow>,
}

/// Returns the tenants that a query reads: those in `only`, or all existing ones.
///
/// # Errors
///
/// [`AdminError`] if the catalog cannot be read.
pub async fn queried_tenants(
    database: &AdminDatabase,
    only: &[SchemaName],
) -> Result<Vec<SchemaName>, AdminError> {
    let tenants = inventory::read_certain(database, only).await?;
    Ok(tenants.into_iter().map(|tenant| tenant.schema).collect())
}

impl TenantJob for QueryTenant {
    type Outcome = QueriedRows;

    async fn attempt(
        &self,
        database: &AdminDatabase,
        connection: &mut PgConnection,
        tenant: &SchemaName,
        _lock_timeout: Duration,
        outcome: &mut QueriedRows,
    ) -> Result<(), AdminError> {
        if !crate::admin::schema::exists(connection, tenant).await? {
            return Err(AdminError::NoSuchSchema);
        }
        let mut transaction = connection.begin_with("BEGIN READ ONLY").await?;
        sqlx::query(SCOPE)
            .bind(tenant.as_str())
            .bind(self.timeout.as_millis().to_string())
            .bind(database.roles().is_enabled().then(|| tenant.role()))
            .execute(&mut *transaction)
            .await?;
        // The extended protocol accepts one statement only, so none can follow that ends the transaction.
        let rows = GeneratedSql::rows_as_json(&self.sql)
            .fetch_rows(&mut transaction)
            .await?;
        *outcome = QueriedRows::default();
        for row in rows {
            let (names, values): (Vec<String>, Vec<Option<String>>) = (row.try_get(1)?, row.try_get(2)?);
            outcome.json.push(row.try_get(0)?);
            outcome.text.push(names.into_iter().zip(values).collect());
        }
        transaction.rollback().await?;
        Ok(())
    }
}
