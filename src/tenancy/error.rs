//! Database errors, classified by SQLSTATE (PostgreSQL manual, appendix A).

use std::borrow::Cow;
use std::sync::Arc;

/// A database error, classified by what the caller can do about it.
///
/// The source is for the log only: it may contain SQL and names.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The server is down, starting, out of resources or failing over. A later request may succeed.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// No connection became idle, or could be opened, in time. A later request may succeed.
    #[error("timed out waiting for a database connection (limit {limit}, open {open}, idle {idle})")]
    AcquireTimeout {
        /// Maximum number of connections.
        limit: usize,
        /// Open connections.
        open: usize,
        /// Open connections that no request uses.
        idle: usize,
        /// The error of the last attempt to connect, if it failed.
        #[source]
        connect_error: Option<Arc<sqlx::Error>>,
    },
    /// The tenant has its maximum number of concurrent requests. A later request may succeed.
    #[error("the tenant has its maximum number of concurrent requests")]
    TenantLimit,
    /// The connections do not keep tenants apart. Only other settings help.
    #[error("the connections to this database are not isolated")]
    NotIsolated(#[from] IsolationError),
    /// The statement was cancelled by a timeout.
    #[error("the statement timed out")]
    TimedOut(#[source] sqlx::Error),
    /// A relation or column is missing, has another kind, or is not readable for the service's role.
    #[error("the schema does not fit the statement")]
    SchemaMismatch(#[source] sqlx::Error),
    /// The tenant's role does not exist, or is not granted to the service's role.
    #[error("the tenant's role is missing, or is not granted to the service's role")]
    MissingRole(#[source] sqlx::Error),
    /// A value has a character that the database's encoding lacks, so no row contains it.
    #[error("a value cannot be represented in the database's encoding")]
    Unencodable(#[source] sqlx::Error),
    /// A stored value is out of range, or not valid text.
    #[error("a value in the database is invalid")]
    InvalidData(#[source] sqlx::Error),
    /// Any other error.
    #[error("unexpected database error")]
    Unexpected(#[source] sqlx::Error),
}

impl DatabaseError {
    /// The SQLSTATE, if the server reported the error.
    pub(crate) fn sqlstate(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::AcquireTimeout { .. } | Self::TenantLimit | Self::NotIsolated(_) => None,
            Self::Unavailable(error)
            | Self::TimedOut(error)
            | Self::SchemaMismatch(error)
            | Self::MissingRole(error)
            | Self::Unencodable(error)
            | Self::InvalidData(error)
            | Self::Unexpected(error) => error.as_database_error()?.code(),
        }
    }

    /// Classifies the error of the statement that sets the tenant's role.
    pub(super) fn from_set_role(error: sqlx::Error) -> Self {
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        match code.as_deref() {
            // invalid_parameter_value, insufficient_privilege
            Some("22023" | "42501") => Self::MissingRole(error),
            _ => error.into(),
        }
    }

    /// Returns whether the same statement may succeed on another connection: the connection broke, a deadlock
    /// was resolved, or a standby has to replay a change that conflicts with the statement (PostgreSQL manual,
    /// section 27.4.2).
    pub(super) fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(sqlx::Error::Database(error)) => {
                // serialization_failure, deadlock_detected, admin_shutdown, idle_session_timeout
                matches!(
                    error.code().as_deref(),
                    Some("40001" | "40P01" | "57P01" | "57P05")
                )
            }
            Self::Unavailable(sqlx::Error::Io(_)) => true,
            _ => false,
        }
    }
}

/// The reason why connections cannot be used for tenants' requests. No retry helps, only other settings.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// There is a pooler, and the settings do not say so.
    #[error(
        "a connection pooler in transaction mode stands between this service and PostgreSQL; set \
         DATABASE_POOLER=transaction, or connect to PostgreSQL directly"
    )]
    UnexpectedPooler,
    /// There is a pooler, and the command needs sessions.
    #[error(
        "this command needs sessions of its own, but a connection pooler shares them between clients; \
         set DATABASE_URL to PostgreSQL itself"
    )]
    SessionsNeeded,
    /// The server is too old.
    #[error("the server is PostgreSQL {}, but version 12 or newer is required", version / 10_000)]
    ServerTooOld {
        /// Its version, as servers report it: 110022 is 11.22.
        version: u32,
    },
    /// The statements of a message do not run in one transaction of one server process.
    #[error(
        "the connection pooler splits the statements of a message; set its pool mode to transaction \
         (PgBouncer: pool_mode = transaction), or connect to PostgreSQL directly"
    )]
    SplitMessage,
    /// Citus connects to its nodes as the current role, which a tenant's role does not allow.
    #[error(
        "Citus logs in to its nodes as the current role, which a tenant's role cannot do; set TENANT_ROLES=off"
    )]
    RolesOnCitus,
    /// A search path outlives its message.
    #[error(
        "a search path that was set for one message is still set after it ({found}); connect to PostgreSQL \
         directly, or set the connection pooler's pool mode to transaction and DATABASE_POOLER=transaction"
    )]
    Leak {
        /// The search path.
        found: String,
    },
}

impl AsRef<Self> for DatabaseError {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => match database.code().as_deref() {
                Some(code) => by_sqlstate(code)(error),
                None => Self::Unexpected(error),
            },
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::PoolClosed => {
                Self::Unavailable(error)
            }
            // bytes that are not UTF-8, from a database in the encoding SQL_ASCII
            sqlx::Error::ColumnDecode { .. } => Self::InvalidData(error),
            _ => Self::Unexpected(error),
        }
    }
}

fn by_sqlstate(code: &str) -> fn(sqlx::Error) -> DatabaseError {
    match code {
        // query_canceled, lock_not_available, transaction_timeout
        "57014" | "55P03" | "25P04" => return DatabaseError::TimedOut,
        // object_not_in_prerequisite_state, such as a materialized view without rows
        "55000" => return DatabaseError::SchemaMismatch,
        // untranslatable_character
        "22P05" => return DatabaseError::Unencodable,
        // invalid_sql_statement_name, duplicate_prepared_statement: another server connection than before
        "26000" | "42P05" => return DatabaseError::Unavailable,
        _ => {}
    }
    match code.get(..2) {
        // connection, authorization, invalid catalog name, transaction rollback, insufficient resources,
        // operator intervention, system error
        Some("08" | "28" | "3D" | "40" | "53" | "57" | "58") => DatabaseError::Unavailable,
        // invalid schema name; syntax error or access rule violation
        Some("3F" | "42") => DatabaseError::SchemaMismatch,
        Some("22") => DatabaseError::InvalidData,
        _ => DatabaseError::Unexpected,
    }
}

/// Returns whether a pooler refused the parameters of a connection.
pub(super) fn is_pooler_refusal(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.message().starts_with("unsupported startup parameter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_are_classified() {
        let sorted = |code| by_sqlstate(code)(sqlx::Error::PoolClosed).to_string();
        for (code, expected) in [
            ("08006", "the database is unavailable"),
            ("53300", "the database is unavailable"),
            ("57P01", "the database is unavailable"),
            ("57P03", "the database is unavailable"),
            ("40001", "the database is unavailable"),
            ("53100", "the database is unavailable"),
            ("26000", "the database is unavailable"),
            ("42P05", "the database is unavailable"),
            ("57014", "the statement timed out"),
            ("55P03", "the statement timed out"),
            ("25P04", "the statement timed out"),
            ("42P01", "the schema does not fit the statement"),
            ("42501", "the schema does not fit the statement"),
            ("3F000", "the schema does not fit the statement"),
            ("55000", "the schema does not fit the statement"),
            (
                "22P05",
                "a value cannot be represented in the database's encoding",
            ),
            ("22003", "a value in the database is invalid"),
            ("XX000", "unexpected database error"),
            ("é", "unexpected database error"),
        ] {
            assert_eq!(sorted(code), expected, "{code}");
        }
    }
}
