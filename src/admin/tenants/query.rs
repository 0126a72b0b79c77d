//! A read-only query in the scope of each tenant.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use crate::admin::database::AdminDatabase;
use crate::admin::drift::inventory;
use crate::admin::error::AdminError;
use crate::admin::generated_sql::GeneratedSql;
use crate::admin::runner::TenantJob;
use crate::admin::schema;
use crate::tenancy::SchemaName;

/// Sets the scope of the open transaction: `$1` is the tenant, `$2` the timeout in milliseconds, `$3` the role, or NULL
/// for the session's.
const SCOPE: &str = "
    SELECT pg_catalog.set_config('search_path', pg_catalog.quote_ident($1) || ', pg_temp', true),
           pg_catalog.set_config('statement_timeout', $2, true),
           CASE WHEN $3 IS NOT NULL THEN pg_catalog.set_config('role', $3, true) END";

/// A query in the scope of one tenant, in a read-only transaction.
#[derive(Debug, Clone)]
pub(crate) struct QueryTenant {
    /// The query: one statement that returns rows.
    pub(crate) sql: String,
    pub(crate) timeout: Duration,
}

/// Columns of a row with their values; `None` for NULL.
pub(crate) type TextRow = Vec<(String, Option<String>)>;

/// The rows of one tenant.
#[derive(Debug, Default)]
pub(crate) struct QueriedRows {
    /// Each row as a JSON object, with the columns in their order.
    pub(crate) json: Vec<String>,
    /// The same rows as text.
    pub(crate) text: Vec<TextRow>,
}

/// Returns the tenants that a query reads: those in `only`, or all existing ones.
pub(crate) async fn list_queried(
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
        if !schema::exists(connection, tenant).await? {
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
        let query = GeneratedSql::rows_as_json(&self.sql);
        let rows: Vec<(String, Vec<String>, Vec<Option<String>>)> = query.fetch_all(&mut transaction).await?;
        *outcome = QueriedRows::default();
        for (json, names, values) in rows {
            outcome.json.push(json);
            outcome.text.push(names.into_iter().zip(values).collect());
        }
        transaction.rollback().await?;
        Ok(())
    }
}
