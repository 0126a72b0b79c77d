//! What went wrong at the database, told by SQLSTATE (PostgreSQL manual, appendix A).

use std::borrow::Cow;

use super::IsolationError;

/// A failure at the database, sorted by what its caller can do about it.
///
/// The cause is for the log alone: it may hold SQL and names.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// No connection: the server is down, starting, full or failing over.
    /// Trying again later may help.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// No connection became free, or could be made, in time. Trying again later may help.
    #[error("no connection in time: of at most {most} there are {made}, {idle} of them idle")]
    AcquireTimeout {
        /// How many the pool may have.
        most: u32,
        /// How many it has; none where the server does not take any.
        made: u32,
        /// How many wait to be used.
        idle: usize,
    },
    /// The tenant has as many requests at work as it may, and too many that wait, or for too long. Trying
    /// again later may help.
    #[error("the tenant has more requests at once than its share")]
    TenantLimit,
    /// Connections are not fit to carry tenants' transactions, which only a setting can change.
    #[error("this database cannot be worked with as it is")]
    NotIsolated(#[from] IsolationError),
    /// The statement was cancelled by its time limit.
    #[error("the database did not answer in time")]
    TimedOut(#[source] sqlx::Error),
    /// What the statement names is missing, of another kind, or not ours to read.
    #[error("a table or a column is missing or not readable")]
    SchemaMismatch(#[source] sqlx::Error),
    /// The tenant has no role, or the service's role is no member of it: the service cannot take it on.
    #[error("the tenant's role is missing, or is not granted to the service's role")]
    MissingRole(#[source] sqlx::Error),
    /// A parameter has a character that the database's encoding lacks, so no row has it.
    #[error("a parameter cannot be written in the database's encoding")]
    Unencodable(#[source] sqlx::Error),
    /// A value is out of the range of its type.
    #[error("a value in the database is invalid")]
    InvalidData(#[source] sqlx::Error),
    /// Anything else.
    #[error("unexpected database error")]
    Unexpected(#[source] sqlx::Error),
}

impl DatabaseError {
    /// The server's own code for what went wrong, where it was the server that said so.
    pub(super) fn sqlstate(&self) -> Option<Cow<'_, str>> {
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

    /// What went wrong when a transaction was opened, where nothing but a role is named that has to exist.
    pub(super) fn at_begin(error: sqlx::Error) -> Self {
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        match code.as_deref() {
            // invalid_parameter_value, insufficient_privilege
            Some("22023" | "42501") => Self::MissingRole(error),
            _ => error.into(),
        }
    }

    /// Whether the server gave up this transaction, or this connection, and may well do the same work on
    /// another: a standby is to replay what the transaction is in the way of (PostgreSQL manual, section
    /// 27.4.2), a deadlock was resolved, a backend was terminated, a connection broke.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(sqlx::Error::Database(error)) => {
                // serialization_failure, deadlock_detected, admin_shutdown, idle_session_timeout,
                // idle_in_transaction_session_timeout
                matches!(
                    error.code().as_deref(),
                    Some("40001" | "40P01" | "57P01" | "57P05" | "25P03")
                )
            }
            Self::Unavailable(sqlx::Error::Io(_)) => true,
            _ => false,
        }
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => match database.code().as_deref() {
                Some(code) => by_sqlstate(code)(error),
                None => Self::Unexpected(error),
            },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Unavailable(error),
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
        // character_not_in_repertoire, untranslatable_character
        "22021" | "22P05" => return DatabaseError::Unencodable,
        // invalid_sql_statement_name, duplicate_prepared_statement: the server connection was
        // exchanged under us; idle_in_transaction_session_timeout: it is gone
        "26000" | "42P05" | "25P03" => return DatabaseError::Unavailable,
        _ => {}
    }
    match code.get(..2) {
        // connection, wrong password or role, no such database, transaction rolled back (as on a
        // standby), out of resources, operator intervention, system error
        Some("08" | "28" | "3D" | "40" | "53" | "57" | "58") => DatabaseError::Unavailable,
        // no such schema, table, column, function; no right to it
        Some("3F" | "42") => DatabaseError::SchemaMismatch,
        Some("22") => DatabaseError::InvalidData,
        _ => DatabaseError::Unexpected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_of_sqlstate_has_its_meaning() {
        let sorted = |code| by_sqlstate(code)(sqlx::Error::PoolTimedOut).to_string();
        for (code, expected) in [
            ("08006", "the database is unavailable"),
            ("53300", "the database is unavailable"),
            ("57P01", "the database is unavailable"),
            ("57P03", "the database is unavailable"),
            ("40001", "the database is unavailable"),
            ("53100", "the database is unavailable"),
            ("26000", "the database is unavailable"),
            ("42P05", "the database is unavailable"),
            ("25P03", "the database is unavailable"),
            ("57014", "the database did not answer in time"),
            ("55P03", "the database did not answer in time"),
            ("25P04", "the database did not answer in time"),
            ("42P01", "a table or a column is missing or not readable"),
            ("42501", "a table or a column is missing or not readable"),
            ("3F000", "a table or a column is missing or not readable"),
            ("55000", "a table or a column is missing or not readable"),
            (
                "22P05",
                "a parameter cannot be written in the database's encoding",
            ),
            ("22003", "a value in the database is invalid"),
            ("XX000", "unexpected database error"),
            ("é", "unexpected database error"),
        ] {
            assert_eq!(sorted(code), expected, "{code}");
        }
    }
}
