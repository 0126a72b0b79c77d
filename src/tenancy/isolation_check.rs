//! Proves on the connections as they are configured, before any tenant's row is read, that a search
//! path ends with its transaction, and that nothing between us and PostgreSQL mixes transactions up.

use std::sync::Arc;

use sqlx::{Connection, PgConnection, Row, raw_sql};

use super::{Database, DatabaseError, SchemaName, TenantTransaction};

/// A schema that nobody has; a search path may name it all the same.
const NOBODYS: &str = "tenant-orders self-test";
/// PgBouncer and its like answer a busy client from another server connection soon.
const LOOKS: usize = 4;

/// The first major version that is not too old, times 10,000 as servers tell it.
const OLDEST_SERVER: u32 = 120_000;

/// Why connections are not fit to carry tenants' transactions. No retry mends it: a setting does.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// A pooler is in between, and nobody told us.
    #[error(
        "a connection pooler stands between this service and PostgreSQL and lends its server connections \
         by the transaction: set DATABASE_POOLER=transaction, or connect to PostgreSQL itself"
    )]
    UnexpectedPooler,
    /// A pooler is in between, and what is to be done needs sessions.
    #[error(
        "a connection pooler stands in front of PostgreSQL, and this command needs sessions of its own: \
         name PostgreSQL itself in DATABASE_URL"
    )]
    SessionsNeeded,
    /// The server lacks what is asked of it.
    #[error("the server is PostgreSQL {}: version 12 or newer is needed", version / 10_000)]
    ServerTooOld {
        /// Its version, as servers tell it: 110022 is 11.22.
        version: u32,
    },
    /// The pooler lends server connections for less than a transaction.
    #[error(
        "the connection pooler does not keep a transaction together: \
         set its pool mode to transaction (PgBouncer: pool_mode = transaction)"
    )]
    NoTransactions,
    /// Tenants lie on nodes, which know other roles than that of a session alone.
    #[error(
        "Citus reads each tenant as its role over connections that log in as this role, which cannot log in: \
         set TENANT_ROLES=off"
    )]
    RolesOnCitus,
    /// What one transaction sets, another sees.
    #[error(
        "a search path that one transaction sets is seen in another one ({found}): nothing can be served \
         over such connections; connect to PostgreSQL itself, or set the connection pooler's pool mode to \
         transaction and DATABASE_POOLER=transaction"
    )]
    Leak {
        /// The search path that was seen.
        found: String,
    },
}

/// Runs the test over a connection of the pool and one that is set up the same.
///
/// # Errors
///
/// [`DatabaseError::NotIsolated`] where the test fails, and others where it could not be made.
pub(super) async fn run(database: &Database) -> Result<(), DatabaseError> {
    test(database).await.map_err(explained)
}

async fn test(database: &Database) -> Result<(), DatabaseError> {
    let mut lease = database.untested().await?;
    let mut other = database.connect_as_pool_does().await?;
    require_version(other.server_version_num())?;
    if !database.expects_pooler() && is_pooled(lease.idle_connection().await?, &mut other).await? {
        return Err(IsolationError::UnexpectedPooler.into());
    }
    if database.expects_roles() && has_citus(&mut other).await? {
        return Err(IsolationError::RolesOnCitus.into());
    }
    let mut transaction = TenantTransaction::begin(lease.without_roles(), &Arc::new(nobodys())).await?;
    let expected = format!("{}, pg_temp", nobodys().quoted());
    let first = inside(&mut transaction).await?;
    assert_free(&mut other).await?;
    let second = inside(&mut transaction).await?;
    if first.0 != expected || first != second {
        return Err(IsolationError::NoTransactions.into());
    }
    transaction.roll_back().await?;
    assert_free(&mut other).await?;
    let mut lease = database.untested().await?;
    assert_free(lease.idle_connection().await?).await?;
    lease.hand_back();
    other.close().await?;
    Ok(())
}

#[expect(clippy::expect_used, reason = "the name is a constant")]
fn nobodys() -> SchemaName {
    SchemaName::parse(NOBODYS).expect("a name for a schema")
}

/// The search path and the server's process, as a tenant's transaction sees them.
async fn inside(transaction: &mut TenantTransaction) -> Result<(String, i32), DatabaseError> {
    let rows = transaction
        .fetch_all(
            "SELECT pg_catalog.current_setting('search_path'), pg_catalog.pg_backend_pid()",
            |statement| statement,
        )
        .await?;
    let row = rows.first().ok_or(IsolationError::NoTransactions)?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

async fn has_citus(connection: &mut PgConnection) -> Result<bool, DatabaseError> {
    let found = raw_sql("SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus'")
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}

/// Fails where a path that a tenant's transaction set is seen on `connection`.
async fn assert_free(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    let found: String = raw_sql("SELECT pg_catalog.current_setting('search_path')")
        .fetch_one(connection)
        .await?
        .try_get(0)?;
    if found.contains(NOBODYS) {
        return Err(IsolationError::Leak { found }.into());
    }
    Ok(())
}

/// Fails where connections for administration are shared with strangers.
pub(crate) async fn require_sessions(
    connect: impl AsyncFn() -> Result<PgConnection, DatabaseError>,
) -> Result<(), DatabaseError> {
    let pooled = async {
        let (mut one, mut other) = (connect().await?, connect().await?);
        require_version(one.server_version_num())?;
        let pooled = is_pooled(&mut one, &mut other).await?;
        one.close().await?;
        other.close().await?;
        Ok(pooled)
    };
    match pooled.await.map_err(explained) {
        Ok(false) => Ok(()),
        Err(DatabaseError::NotIsolated(error @ IsolationError::ServerTooOld { .. })) => Err(error.into()),
        Ok(true) | Err(DatabaseError::NotIsolated(_)) => Err(IsolationError::SessionsNeeded.into()),
        Err(error) => Err(error),
    }
}

fn require_version(version: Option<u32>) -> Result<(), IsolationError> {
    match version {
        Some(version) if version < OLDEST_SERVER => Err(IsolationError::ServerTooOld { version }),
        _ => Ok(()), // something that calls itself otherwise is taken at its word
    }
}

/// Whether something between us and PostgreSQL shares server connections out.
async fn is_pooled(one: &mut PgConnection, other: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let first = (server_process(one).await?, server_process(other).await?);
    for _ in 0..LOOKS {
        if (server_process(one).await?, server_process(other).await?) != first {
            return Ok(true);
        }
    }
    Ok(first.0 == first.1)
}

/// Which process of which server answers.
async fn server_process(connection: &mut PgConnection) -> Result<(i32, String), sqlx::Error> {
    let row = raw_sql("SELECT pg_catalog.pg_backend_pid(), pg_catalog.pg_postmaster_start_time()::text")
        .fetch_one(connection)
        .await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// What a pooler refuses, told by what to do about it.
fn explained(error: DatabaseError) -> DatabaseError {
    use DatabaseError::{Unavailable, Unexpected};
    let (Unavailable(sqlx::Error::Database(refusal)) | Unexpected(sqlx::Error::Database(refusal))) = &error
    else {
        return error;
    };
    if refusal.message().starts_with("unsupported startup parameter") {
        IsolationError::UnexpectedPooler.into()
    } else if refusal.message().contains("statement pooling mode") {
        IsolationError::NoTransactions.into()
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_named() {
        let refused = require_version(Some(110_022)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the server is PostgreSQL 11: version 12 or newer is needed"
        );
        assert!(require_version(Some(120_000)).is_ok());
        assert!(require_version(Some(180_001)).is_ok());
        assert!(require_version(None).is_ok());
    }
}
