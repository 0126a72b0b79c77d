//! The isolation check: before any tenant's row is read, the connections have to show that a search path ends
//! with its message, and that nothing between the service and PostgreSQL splits a message or shares sessions.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, PgConnection, Row, raw_sql};
use tokio::time::Instant;

use super::SchemaName;
use super::error::{DatabaseError, IsolationError, is_pooler_refusal};
use super::message::{Message, MessageForms};
use super::pool::Pool;
use super::reply::Reply;
use super::session_settings::SessionSettings;
use super::statement::{MessageForm, Query, Statement, TenantQuery};
use crate::connect::Connector;

/// The name of a schema that does not exist. A search path may name it nevertheless.
const MISSING_SCHEMA: &str = "tenant-orders isolation check";
/// Number of comparisons of server processes. A pooler gives a busy client another server connection soon.
const PROCESS_CHECKS: usize = 4;

/// The oldest supported version, as servers report it: the major version times 10,000.
const MIN_SERVER_VERSION: u32 = 120_000;

/// Returns the search path and the server process that a statement has.
const SESSION: Statement = Statement::new(
    "session",
    "SELECT pg_catalog.current_setting('search_path'), pg_catalog.pg_backend_pid()::pg_catalog.text",
);

/// Checks a connection of the pool and another one. Returns the settings that the server needs.
///
/// # Errors
///
/// [`DatabaseError::NotIsolated`] if the check fails; any other [`DatabaseError`] if it could not be made.
pub(super) async fn run(
    pool: &Arc<Pool>,
    settings: &SessionSettings,
    deadline: Instant,
) -> Result<SessionSettings, DatabaseError> {
    let mut pooled = pool.acquire(None, false, deadline, false).await?;
    let mut other = pool.connect().await?;
    let (connection, prepared) = pooled.parts();
    require_version(other.server_version_num())?;
    if !settings.uses_transaction_pooling() && is_pooled(connection, &mut other).await? {
        return Err(IsolationError::UnexpectedPooler.into());
    }
    let settings = settings.with_citus(has_citus(&mut other).await?);
    if settings.has_roles() && settings.is_citus() {
        return Err(IsolationError::RolesOnCitus.into());
    }
    let missing = Arc::new(missing_schema());
    let query = Query {
        statement: &SESSION,
        values: &[],
    };
    let in_tenant = TenantQuery { tables: "", query };
    let form = MessageForm {
        is_inline: true,
        ..MessageForm::default()
    };
    let message = Message::new(
        &settings.without_roles(),
        MessageForms {
            shared: form,
            tenant: form,
        },
        prepared,
        query,
        Some((&missing, in_tenant)),
    );
    let reply = Reply::read(connection, message)
        .await
        .map_err(|error| error.source)?;
    let session = |rows: &[sqlx::postgres::PgRow]| -> Result<(String, String), DatabaseError> {
        let row = rows.first().ok_or(IsolationError::SplitMessage)?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    };
    let (shared_path, shared_process) = session(&reply.shared)?;
    let (tenant_path, tenant_process) = session(&reply.tenant)?;
    let expected = format!("{}, pg_temp", missing.quoted());
    if tenant_path != expected || tenant_process != shared_process {
        return Err(IsolationError::SplitMessage.into());
    }
    require_no_leak(shared_path)?;
    require_no_leak(read_search_path(&mut other).await?)?;
    require_no_leak(read_search_path(connection).await?)?;
    pooled.check_in();
    other.close().await?;
    Ok(settings)
}

#[expect(clippy::expect_used, reason = "the name is a constant")]
fn missing_schema() -> SchemaName {
    SchemaName::parse(MISSING_SCHEMA).expect("a valid schema name")
}

async fn has_citus(connection: &mut PgConnection) -> Result<bool, DatabaseError> {
    let found = raw_sql("SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus'")
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}

async fn read_search_path(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    raw_sql("SELECT pg_catalog.current_setting('search_path')")
        .fetch_one(connection)
        .await?
        .try_get(0)
}

fn require_no_leak(path: String) -> Result<(), IsolationError> {
    if path.contains(MISSING_SCHEMA) {
        return Err(IsolationError::Leak { found: path });
    }
    Ok(())
}

/// Checks that no pooler shares the sessions that `connector` opens within `timeout`.
///
/// # Errors
///
/// [`IsolationError::SessionsNeeded`] if there is a pooler; any other [`DatabaseError`] if the check could not
/// be made.
pub(crate) async fn require_sessions(connector: &Connector, timeout: Duration) -> Result<(), DatabaseError> {
    let explain = |error: sqlx::Error| {
        if is_pooler_refusal(&error) {
            IsolationError::SessionsNeeded.into()
        } else {
            DatabaseError::from(error)
        }
    };
    let mut one = connector.connect(timeout).await.map_err(explain)?;
    let mut other = connector.connect(timeout).await.map_err(explain)?;
    require_version(one.server_version_num())?;
    let is_pooled = is_pooled(&mut one, &mut other).await?;
    one.close().await?;
    other.close().await?;
    if is_pooled {
        return Err(IsolationError::SessionsNeeded.into());
    }
    Ok(())
}

fn require_version(version: Option<u32>) -> Result<(), IsolationError> {
    match version {
        Some(version) if version < MIN_SERVER_VERSION => Err(IsolationError::ServerTooOld { version }),
        _ => Ok(()), // a program that reports no version is trusted to be compatible
    }
}

/// Returns whether a pooler shares the server's connections between clients.
async fn is_pooled(one: &mut PgConnection, other: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let first = (read_server_process(one).await?, read_server_process(other).await?);
    for _ in 0..PROCESS_CHECKS {
        if (read_server_process(one).await?, read_server_process(other).await?) != first {
            return Ok(true);
        }
    }
    Ok(first.0 == first.1)
}

/// The process that answers, and the start time of its server. A standby refuses transactions that begin as
/// serializable.
async fn read_server_process(connection: &mut PgConnection) -> Result<(i32, String), sqlx::Error> {
    let row = raw_sql(
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SELECT pg_catalog.pg_backend_pid(), pg_catalog.pg_postmaster_start_time()::text",
    )
    .fetch_one(connection)
    .await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_old_servers_are_refused() {
        let refused = require_version(Some(110_022)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the server is PostgreSQL 11, but version 12 or newer is required"
        );
        assert!(require_version(Some(120_000)).is_ok());
        assert!(require_version(Some(180_001)).is_ok());
        assert!(require_version(None).is_ok());
    }
}
