//! Connections for administration.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use sqlx::{ConnectOptions, Connection, PgConnection, raw_sql};

use super::error::AdminError;
use super::migrations::MigrationSource;
use crate::config::{DatabaseUrl, RoleSettings};
use crate::connect::{Connector, InvalidDatabaseUrl};
use crate::tenancy::{DatabaseError, SchemaName, require_sessions};

/// Maximum time for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Number of chunks of [`AdminDatabase::map_chunks`] that are in progress at once.
const CONCURRENT_CHUNKS: usize = 2;

/// Settings that administration relies on, which the database or the role may set otherwise. They are not
/// start-up parameters: a pooler may refuse those, and `require_sessions` could not report it.
///
/// No other schema is on the path: objects are named with their schema, or the path is set to one. With
/// `row_security` off, a query fails (SQLSTATE 42501) if a policy would hide rows from it. Long statements
/// and transactions are what administration is for: nothing ends them but PostgreSQL's own limits.
const SESSION_SETTINGS: &str = "\
SET statement_timeout TO 0; \
SET search_path TO pg_catalog, pg_temp; \
SET row_security TO off; \
SET lock_timeout TO 0; \
SET idle_in_transaction_session_timeout TO 0; \
SET default_transaction_isolation TO 'read committed'; \
SET standard_conforming_strings TO on; \
SET quote_all_identifiers TO off; \
SET array_nulls TO on; \
SET bytea_output TO hex; \
SET xmloption TO content; \
SET DateStyle TO ISO; \
SET IntervalStyle TO postgres; \
SET extra_float_digits TO 1";

/// The database for commands that change it. The code that serves requests has no access to it.
///
/// Each piece of work opens its own connection, so a session setting ends with that connection.
#[derive(Clone)]
pub struct AdminDatabase {
    connector: Connector,
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
            connector: Connector::new(url)?.with_options(ConnectOptions::disable_statement_logging),
            roles: RoleSettings::default(),
            migrations: Arc::new(MigrationSource::compiled_in().clone()),
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

    /// Returns the same database with other migrations.
    pub(crate) fn with_migrations(&self, migrations: MigrationSource) -> Self {
        Self {
            migrations: Arc::new(migrations),
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
        // Without the session settings, which a pooler would keep for other clients.
        require_sessions(&self.connector, CONNECT_TIMEOUT).await
    }

    /// Opens a connection with the settings that administration relies on.
    pub(crate) async fn connect(&self) -> Result<PgConnection, DatabaseError> {
        let mut connection = self.connector.connect(CONNECT_TIMEOUT).await?;
        raw_sql(SESSION_SETTINGS).execute(&mut connection).await?;
        Ok(connection)
    }

    /// Runs `work` for each chunk of at most `size` of `items`, on a connection of its own: a backend caches all catalog
    /// entries that it has read. A few chunks are in progress at once. The results are in the order of the items.
    pub(in crate::admin) async fn map_chunks<T: Sync, R: Send>(
        &self,
        items: &[T],
        size: usize,
        work: impl AsyncFn(&mut PgConnection, &[T]) -> Result<R, AdminError> + Send + Sync,
    ) -> Result<Vec<R>, AdminError> {
        let run = async |chunk| {
            let mut connection = self.connect().await?;
            let result = work(&mut connection, chunk).await?;
            connection.close().await?;
            Ok(result)
        };
        let chunks = stream::iter(items.chunks(size).map(run));
        chunks.buffered(CONCURRENT_CHUNKS).try_collect().await
    }

    /// Validates the name of a tenant. The limit of its length is in bytes of the database's encoding.
    pub(crate) async fn schema_name(&self, name: &str) -> Result<SchemaName, AdminError> {
        let mut connection = self.connect().await?;
        let name = measured_name(&mut connection, name).await?;
        connection.close().await?;
        Ok(name)
    }

    /// Validates the names of tenants, as [`AdminDatabase::schema_name`] does.
    pub(crate) async fn schema_names(&self, names: &[String]) -> Result<Vec<SchemaName>, AdminError> {
        let mut connection = self.connect().await?;
        let mut schemas = Vec::with_capacity(names.len());
        for name in names {
            schemas.push(measured_name(&mut connection, name).await?);
        }
        connection.close().await?;
        Ok(schemas)
    }

    /// Fails if every transaction is read-only, as on a standby.
    pub(crate) async fn require_writable(&self) -> Result<(), AdminError> {
        let mut connection = self.connect().await?;
        let is_read_only =
            sqlx::query_scalar("SELECT pg_catalog.current_setting('transaction_read_only') = 'on'")
                .fetch_one(&mut connection)
                .await?;
        connection.close().await?;
        if is_read_only {
            Err(AdminError::ReadOnly)
        } else {
            Ok(())
        }
    }
}

async fn measured_name(connection: &mut PgConnection, name: &str) -> Result<SchemaName, AdminError> {
    let measured = name.split('\0').next().unwrap_or_default(); // the server refuses a NUL
    let octet_length = sqlx::query_scalar("SELECT pg_catalog.octet_length($1)")
        .bind(measured)
        .fetch_one(connection)
        .await?;
    Ok(SchemaName::parse_measured(name, octet_length)?)
}
