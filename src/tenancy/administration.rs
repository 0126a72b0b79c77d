//! Connections for administration, and what it does on them: whatever is set on one ends with it.

#![expect(
    clippy::disallowed_types,
    reason = "schemas cannot be bound as parameters: they are named by SchemaName::quoted"
)]

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, raw_sql};

use super::database_url::connect_options;
use super::{DatabaseError, InvalidDatabaseUrl, SchemaName, self_test};
use crate::config::{DatabaseUrl, RoleSettings};

/// Between two tries at an advisory lock. Waiting inside the database would hold up another
/// session's `CREATE INDEX CONCURRENTLY`.
const LOCK_RETRY: Duration = Duration::from_millis(100);

/// The database as commands see it that may change it. What serves requests is not given one.
#[derive(Clone)]
pub struct Administration {
    options: PgConnectOptions,
    roles: RoleSettings,
}

impl Administration {
    /// Takes note of where the database is, and connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`InvalidDatabaseUrl`] where `url` is not one.
    pub fn new(url: &DatabaseUrl) -> Result<Self, InvalidDatabaseUrl> {
        // Long work is what it is for: a statement that takes its time is no news.
        Ok(Self {
            options: connect_options(url)?.disable_statement_logging(),
            roles: RoleSettings::default(),
        })
    }

    /// The same, where tenants get roles as `roles` say.
    #[must_use]
    pub fn with_roles(&self, roles: &RoleSettings) -> Self {
        Self {
            roles: roles.clone(),
            ..self.clone()
        }
    }

    /// Whether tenants get roles, and to whom these are granted.
    pub(crate) fn roles(&self) -> &RoleSettings {
        &self.roles
    }

    /// Makes sure that connections are ours alone: administration sets things for the session, which
    /// a pooler would hand to strangers.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NotIsolated`] where a pooler is in between, and others where there is no
    /// connection.
    pub async fn require_sessions(&self) -> Result<(), DatabaseError> {
        self_test::require_sessions(self).await
    }

    /// Opens a connection. It has no statement timeout.
    pub(crate) async fn connect(&self) -> Result<PgConnection, DatabaseError> {
        Ok(self.options.connect().await?)
    }
}

/// Makes `schema` the place where unqualified names are created and looked up.
pub(crate) async fn enter(connection: &mut PgConnection, schema: &SchemaName) -> Result<(), DatabaseError> {
    let statement = format!("SET search_path TO {}, pg_temp", schema.quoted());
    raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

/// Whether `schema` exists.
pub(crate) async fn exists(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<bool, DatabaseError> {
    let found = sqlx::query("SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1")
        .bind(schema.as_str())
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}

/// Whether `schema` holds no table, view or the like.
pub(crate) async fn is_empty(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<bool, DatabaseError> {
    let empty = sqlx::query_scalar(
        // The index of pg_depend finds them; pg_class has none by schema.
        "SELECT NOT EXISTS (
             SELECT FROM pg_catalog.pg_depend
             WHERE classid = 'pg_catalog.pg_class'::regclass AND refclassid = 'pg_catalog.pg_namespace'::regclass
               AND refobjid = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1))",
    )
    .bind(schema.as_str())
    .fetch_one(connection)
    .await?;
    Ok(empty)
}

/// Whether transactions can write nothing, as on a standby.
pub(crate) async fn is_read_only(connection: &mut PgConnection) -> Result<bool, DatabaseError> {
    let setting: String = sqlx::query_scalar("SELECT pg_catalog.current_setting('transaction_read_only')")
        .fetch_one(connection)
        .await?;
    Ok(setting == "on")
}

/// Creates `schema`, which must not exist.
pub(crate) async fn create(connection: &mut PgConnection, schema: &SchemaName) -> Result<(), DatabaseError> {
    let statement = format!("CREATE SCHEMA {}", schema.quoted());
    raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

/// Waits until no other session of this program works on `what`. The lock ends with the connection
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
        tokio::time::sleep(LOCK_RETRY).await;
    }
}

/// Lets other sessions of this program work on `what` again. What was never locked stays as it is.
pub(crate) async fn unlock(connection: &mut PgConnection, what: &str) -> Result<(), DatabaseError> {
    sqlx::query(
        "SELECT pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended('tenant-orders ' || $1, 0))",
    )
    .bind(what)
    .execute(connection)
    .await?;
    Ok(())
}
