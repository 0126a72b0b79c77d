//! The settings that this service relies on: sent with the connection, or with each message behind a pooler.

use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use crate::config::{PoolSettings, Pooler};

/// Settings that decide about results, which the database or the role may set otherwise.
///
/// No tenant's schema is on the path: shared tables are named with their schema, and a tenant's path is set
/// for one message at a time. Floating-point prices are read with the fewest digits that identify them. With
/// `row_security` off, a query fails if a policy may hide rows from it, which would be missing from a total.
const RESULT_SETTINGS: [(&str, &str); 6] = [
    ("search_path", "pg_catalog,pg_temp"),
    ("extra_float_digits", "1"),
    ("DateStyle", "ISO"),
    ("quote_all_identifiers", "off"), // the isolation check compares search paths
    ("row_security", "off"),
    ("lock_timeout", "0"), // the statement timeout limits waits for locks too
];

/// The settings of the pool's connections.
#[derive(Debug, Clone)]
pub(super) struct SessionSettings {
    pooler: Pooler,
    statement_timeout: Duration,
    has_roles: bool,
    message_settings: Vec<String>,
    is_citus: bool,
}

impl SessionSettings {
    pub(super) fn new(settings: &PoolSettings) -> Self {
        let timeout = settings.statement_timeout.as_millis();
        let message_settings = match settings.database_pooler {
            Pooler::None => Vec::new(),
            // Another client may have left any setting on the server's connection.
            Pooler::Transaction => ["SET LOCAL role TO DEFAULT".to_owned()]
                .into_iter()
                .chain(RESULT_SETTINGS.map(|(name, value)| format!("SET LOCAL {name} TO {value}")))
                .chain([format!("SET LOCAL statement_timeout TO {timeout}")])
                .collect(),
        };
        Self {
            pooler: settings.database_pooler,
            statement_timeout: settings.statement_timeout,
            has_roles: settings.roles.is_enabled(),
            message_settings,
            is_citus: false,
        }
    }

    /// The same settings for a Citus cluster, if `is_citus`.
    pub(super) fn with_citus(&self, is_citus: bool) -> Self {
        Self {
            is_citus,
            ..self.clone()
        }
    }

    /// Returns whether the server is a Citus cluster.
    pub(super) fn is_citus(&self) -> bool {
        self.is_citus
    }

    /// The same settings without tenants' roles.
    pub(super) fn without_roles(&self) -> Self {
        Self {
            has_roles: false,
            ..self.clone()
        }
    }

    /// Returns whether each tenant is read under its own role.
    pub(super) fn has_roles(&self) -> bool {
        self.has_roles
    }

    /// Returns whether a pooler lends the server's connections for one transaction at a time.
    pub(super) fn uses_transaction_pooling(&self) -> bool {
        self.pooler == Pooler::Transaction
    }

    /// Returns whether statements can be prepared: not behind a pooler, where the next message may go to
    /// another server connection, and not on Citus, where a prepared statement that waits for a table rewrite
    /// reads an empty table.
    pub(super) fn allows_prepared_statements(&self) -> bool {
        !self.uses_transaction_pooling() && !self.is_citus
    }

    /// The statement that begins a message. It overrides the role's `default_transaction_isolation`.
    ///
    /// READ COMMITTED, so that each statement's snapshot is newer than the locks of the message. Citus passes
    /// READ ONLY on to its nodes only from an explicit transaction.
    pub(super) fn begin(&self) -> &'static str {
        if self.is_citus {
            "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"
        } else {
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY"
        }
    }

    /// The statement that ends a message, if PostgreSQL does not end the transaction itself.
    pub(super) fn end(&self) -> Option<&'static str> {
        self.is_citus.then_some("COMMIT")
    }

    /// The settings that each message makes for itself.
    pub(super) fn message_settings(&self) -> &[String] {
        &self.message_settings
    }

    /// Adds the settings to the options of a connection. A pooler refuses start-up parameters that it does
    /// not track.
    pub(super) fn apply(&self, options: PgConnectOptions) -> PgConnectOptions {
        // The service warns of slow requests itself.
        let options = options
            .disable_statement_logging()
            .extra_float_digits(None)
            .statement_cache_capacity(0);
        if self.uses_transaction_pooling() {
            return options;
        }
        let timeout = self.statement_timeout.as_millis().to_string();
        options
            .options(RESULT_SETTINGS)
            // A standby refuses transactions that begin as serializable.
            .options([("default_transaction_isolation", "read committed")])
            .options([("statement_timeout", timeout)])
    }
}
