//! The pool, which nobody else can get at.

#![expect(clippy::disallowed_types, reason = "the one holder of the pool")]

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};

use super::lease::Lease;
use super::transaction::{Statement, TenantTransaction};
use super::{DatabaseError, SchemaName};
use crate::config::{DatabaseUrl, PoolSettings};

/// A connection that rested longer is tried before it is used: the server may have gone meanwhile.
const TRUSTED_IDLE_TIME: Duration = Duration::from_secs(1);

/// The database: a pool of connections, lent out only in scopes that clean up after themselves.
#[derive(Clone)]
pub struct Database {
    pool: PgPool,
    statement_timeout: Duration,
    dedicated: PgConnectOptions,
}

/// The database's URL cannot be used. The cause names the part, not the password.
#[derive(Debug, thiserror::Error)]
#[error("DATABASE_URL is not a PostgreSQL URL such as postgres://user:password@host:5432/database")]
pub struct InvalidDatabaseUrl(#[source] Option<sqlx::Error>);

impl Database {
    /// Makes the pool. No connection is opened before the first is needed, so the database may be
    /// down.
    ///
    /// # Errors
    ///
    /// [`InvalidDatabaseUrl`] where `url` is not one.
    pub fn open(url: &DatabaseUrl, settings: &PoolSettings) -> Result<Self, InvalidDatabaseUrl> {
        let url = url.expose();
        if !["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
        {
            return Err(InvalidDatabaseUrl(None));
        }
        let dedicated = PgConnectOptions::from_str(url)
            .map_err(|error| InvalidDatabaseUrl(Some(error)))?
            .application_name("tenant-orders");
        let statement_timeout = settings.statement_timeout.as_millis().to_string();
        let pooled = dedicated
            .clone()
            .statement_cache_capacity(settings.database_statement_cache)
            .options([("statement_timeout", statement_timeout)]);
        let pool = PgPoolOptions::new()
            .max_connections(settings.database_max_connections)
            .acquire_timeout(settings.acquire_timeout)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > TRUSTED_IDLE_TIME {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(pooled);
        Ok(Self {
            pool,
            statement_timeout: settings.statement_timeout,
            dedicated,
        })
    }

    /// Runs one statement over schema-qualified, shared tables, in no tenant's scope.
    pub(crate) async fn fetch_optional(
        &self,
        statement: &'static str,
        bind: impl FnOnce(Statement<'_>) -> Statement<'_>,
    ) -> Result<Option<PgRow>, DatabaseError> {
        let mut lease = self.lease().await?;
        let row = bind(sqlx::query(statement))
            .fetch_optional(lease.connection())
            .await?;
        lease.hand_back();
        Ok(row)
    }

    /// Opens a read-only transaction in which unqualified names are `schema`'s, and nobody else's.
    pub(crate) async fn begin_tenant(&self, schema: &SchemaName) -> Result<TenantTransaction, DatabaseError> {
        TenantTransaction::begin(self.lease().await?, schema).await
    }

    async fn lease(&self) -> Result<Lease, DatabaseError> {
        let connection = self.pool.acquire().await.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => DatabaseError::NoConnection {
                most: self.pool.options().get_max_connections(),
                made: self.pool.size(),
                idle: self.pool.num_idle(),
            },
            error => error.into(),
        })?;
        Ok(Lease::new(connection, self.statement_timeout))
    }

    /// Opens a connection outside the pool, for administration: it has no statement timeout.
    pub(crate) async fn dedicated(&self) -> Result<PgConnection, DatabaseError> {
        Ok(self.dedicated.connect().await?)
    }

    /// Closes the pool: waits for the connections at work, lends out no more.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
