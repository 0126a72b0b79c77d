//! Advisory locks, which keep several instances of this program from changing the same schema at once.

use std::time::Duration;

use sqlx::PgConnection;

use crate::tenancy::DatabaseError;

/// Interval between two attempts to take an advisory lock. Waiting inside PostgreSQL would block another
/// session's `CREATE INDEX CONCURRENTLY`.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Waits until no other session of this program holds the lock on `what`. The lock ends with the connection
/// (PostgreSQL manual, section 13.3.5).
pub(crate) async fn lock(connection: &mut PgConnection, what: &str) -> Result<(), DatabaseError> {
    loop {
        let locked: bool = sqlx::query_scalar(
            "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended('tenant-orders ' || $1, 0))",
        )
        .bind(what)
        .fetch_one(&mut *connection)
        .await?;
        if locked {
            return Ok(());
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Releases the lock on `what`. Does nothing if the session does not hold it.
pub(crate) async fn unlock(connection: &mut PgConnection, what: &str) -> Result<(), DatabaseError> {
    sqlx::query(
        "SELECT pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended('tenant-orders ' || $1, 0))",
    )
    .bind(what)
    .execute(connection)
    .await?;
    Ok(())
}
