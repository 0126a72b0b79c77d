//! The session of an export or import.

use sqlx::{PgConnection, raw_sql};

use crate::tenancy::DatabaseError;

/// Configures the session for copying data unchanged, as `pg_dump` does: an interval style that every session
/// reads alike, rows in the order in which they are stored, and no time limits.
pub(super) async fn configure_session(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    raw_sql(
        "SET IntervalStyle TO postgres; SET synchronize_seqscans TO off;
         SET statement_timeout TO 0; SET lock_timeout TO 0; SET idle_in_transaction_session_timeout TO 0",
    )
    .execute(connection)
    .await?;
    Ok(())
}
