//! Migration histories of many tenants, read in batches.

use std::collections::HashSet;
use std::sync::Arc;

use sqlx::{Connection, PgConnection, raw_sql};

use super::tenant_entry::{HistoryState, TenantEntry};
use crate::admin::database::AdminDatabase;
use crate::admin::error::AdminError;
use crate::admin::migrations::AppliedMigration;
use crate::admin::migrations::history::{self, HistoryTable, MigratedSchema};
use crate::error_chain;
use crate::tenancy::DatabaseError;

/// Maximum number of histories per statement, which limits its locks and the depth of the parser's stack.
const MAX_PER_STATEMENT: usize = 200;

/// Maximum number of histories per connection: a backend caches the catalog entries of each table that it
/// has seen.
const MAX_PER_CONNECTION: usize = 10 * MAX_PER_STATEMENT;

/// Opens a connection that waits only briefly for a table that is being dropped.
pub(super) async fn connect(database: &AdminDatabase) -> Result<PgConnection, DatabaseError> {
    let mut connection = database.connect().await?;
    raw_sql("SET lock_timeout TO '2s'")
        .execute(&mut connection)
        .await?;
    Ok(connection)
}

/// Reads the histories of all tenants in the state [`HistoryState::Applied`].
pub(super) async fn read(
    database: &AdminDatabase,
    mut connection: PgConnection,
    tenants: &mut [TenantEntry],
) -> Result<(), AdminError> {
    let mut known = HashSet::new();
    let mut unread: Vec<_> = tenants
        .iter_mut()
        .filter(|tenant| matches!(tenant.history, HistoryState::Applied(_)))
        .collect();
    for (number, chunk) in unread.chunks_mut(MAX_PER_CONNECTION).enumerate() {
        if number > 0 {
            connection.close().await?;
            connection = connect(database).await?;
        }
        for batch in chunk.chunks_mut(MAX_PER_STATEMENT) {
            read_batch(&mut connection, batch, &mut known).await?;
        }
    }
    connection.close().await?;
    Ok(())
}

/// Reads the histories of `batch` with one statement. If the statement fails, it is repeated for each half of
/// the batch, until the unreadable history is alone.
async fn read_batch(
    connection: &mut PgConnection,
    batch: &mut [&mut TenantEntry],
    known: &mut HashSet<Arc<[AppliedMigration]>>,
) -> Result<(), AdminError> {
    let mut parts = vec![batch];
    while let Some(part) = parts.pop() {
        let tables = part.iter().map(|tenant| HistoryTable {
            schema: MigratedSchema::Tenant(&tenant.schema),
            is_legacy: tenant.has_legacy_history,
        });
        match (history::read_all(connection, tables).await, part) {
            (Ok(histories), part) => {
                for (tenant, history) in part.iter_mut().zip(histories) {
                    let Some(history) = history else {
                        // It belongs to another program.
                        tenant.history = HistoryState::None;
                        tenant.has_legacy_history = false;
                        continue;
                    };
                    let shared = known
                        .get(history.as_slice())
                        .cloned()
                        .unwrap_or_else(|| history.into());
                    known.insert(Arc::clone(&shared));
                    tenant.history = HistoryState::Applied(shared);
                }
            }
            // A lost connection is not the fault of a history.
            (Err(DatabaseError::Unavailable(error)), _) if error.as_database_error().is_none() => {
                return Err(DatabaseError::Unavailable(error).into());
            }
            (Err(error), [tenant]) => {
                tenant.history = HistoryState::Unreadable(error_chain::messages(&error).join(": "));
            }
            (Err(_), part) => {
                let (one, other) = part.split_at_mut(part.len() / 2);
                parts.extend([one, other]);
            }
        }
    }
    Ok(())
}
