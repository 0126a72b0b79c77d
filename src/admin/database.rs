//! Connections for administration.

use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

use super::migrations::MigrationSource;
use crate::config::{DatabaseUrl, RoleSettings};
use crate::tenancy::{DatabaseError, InvalidDatabaseUrl, connect_options, require_sessions};

/// The database for commands that change it. The code that serves requests has no access to it.
///
/// Each piece of work opens its own connection, so a session setting ends with that connection.
#[derive(Clone)]
pub struct AdminDatabase {
    options: PgConnectOptions,
    roles: RoleSettings,
    migrations: Arc<MigrationSource>,
}

impl AdminDatabase {
    /// Parses `url`. Opens no connection. The migrations are those that are compiled in.
    ///
    /// # Errors
    ///
    /// [`InvalidDatabaseUrl`] if `url` is not a PostgreSQL URL.
    pub fn new(url: &DatabaseUrl) -> Result<Self, InvalidDatabaseUrl> {
        // Administrative statements are expected to take long: sqlx does not warn of slow ones.
        Ok(Self {
            options: connect_options(url)?.disable_statement_logging(),
            roles: RoleSettings::default(),
            migrations: Arc::new(MigrationSource::compiled_in()),
        })
    }

    /// Returns the same database with other settings for tenants' roles.
    #[must_use]
    pub fn with_roles(&self, roles: &RoleSettings) -> Self {
        Self {
            roles: roles.clone(),
            ..self.clone()
        }
    }

    /// Returns the migrations that schemas are compared with and that are applied to them.
    pub(crate) fn migrations(&self) -> &MigrationSource {
        &self.migrations
    }

    /// Returns the settings for tenants' roles.
    pub(crate) fn roles(&self) -> &RoleSettings {
        &self.roles
    }

    /// Checks that no pooler shares the server's connections between clients: administration uses session
    /// settings, which a pooler would pass on to another client.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NotIsolated`] if there is a pooler; any other [`DatabaseError`] if there is no
    /// connection.
    pub async fn require_sessions(&self) -> Result<(), DatabaseError> {
        require_sessions(async || self.connect().await).await
    }

    /// Opens a connection. It has no statement timeout.
    pub(crate) async fn connect(&self) -> Result<PgConnection, DatabaseError> {
        Ok(self.options.connect().await?)
    }

    /// Returns whether every transaction is read-only, as on a standby.
    pub(crate) async fn is_read_only(&self) -> Result<bool, DatabaseError> {
        let mut connection = self.connect().await?;
        let setting: String =
            sqlx::query_scalar("SELECT pg_catalog.current_setting('transaction_read_only')")
                .fetch_one(&mut connection)
                .await?;
        connection.close().await?;
        Ok(setting == "on")
    }
}
