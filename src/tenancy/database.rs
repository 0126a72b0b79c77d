//! The pool, which nobody else can get at.

#![expect(clippy::disallowed_types, reason = "the one holder of the pool")]

use std::str::FromStr;
use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{ConnectOptions, PgConnection, PgPool};
use tokio::sync::OnceCell;

use super::hints::Hints;
use super::lease::Lease;
use super::parking::Parking;
use super::session::{SearchPath, Session, Statement};
use super::transaction::TenantTransaction;
use super::{DatabaseError, SchemaName, self_test};
use crate::config::{DatabaseUrl, PoolSettings};

/// The database: a pool of connections, lent out only in scopes that clean up after themselves.
#[derive(Clone)]
pub struct Database {
    pool: PgPool,
    parking: Arc<Parking>,
    hints: Arc<Hints>,
    session: Session,
    /// Set once the connections were seen to keep tenants apart.
    isolated: Arc<OnceCell<()>>,
}

/// The database's URL cannot be used. The cause names the part, not the password.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDatabaseUrl {
    /// It is no PostgreSQL URL.
    #[error("DATABASE_URL is not a PostgreSQL URL such as postgres://user:password@host:5432/database")]
    Malformed(#[source] Option<sqlx::Error>),
    /// It names several hosts, which libpq would try one after the other.
    #[error(
        "DATABASE_URL names several hosts: name one address that always leads to the server to use, \
         such as a proxy's or a DNS name that fails over"
    )]
    SeveralHosts,
}

impl Database {
    /// Makes the pool. No connection is opened before the first is needed, so the database may be
    /// down.
    ///
    /// # Errors
    ///
    /// [`InvalidDatabaseUrl`] where `url` is not one.
    pub fn open(url: &DatabaseUrl, settings: &PoolSettings) -> Result<Self, InvalidDatabaseUrl> {
        let options = connect_options(url)?;
        let session = Session::new(settings);
        let pool = PgPoolOptions::new()
            .max_connections(settings.database_max_connections)
            .acquire_timeout(settings.acquire_timeout)
            .connect_lazy_with(session.connect_options(options));
        Ok(Self {
            pool,
            parking: Arc::new(Parking::new(
                settings.database_max_connections,
                settings.database_statement_cache / 2, // a tenant may take two
            )),
            hints: Arc::new(Hints::new(settings.tenant_hints)),
            session,
            isolated: Arc::default(),
        })
    }

    /// Runs one statement over schema-qualified, shared tables, in no tenant's scope.
    pub(crate) async fn fetch_optional(
        &self,
        statement: &'static str,
        bind: impl FnOnce(Statement<'_>) -> Statement<'_>,
    ) -> Result<Option<PgRow>, DatabaseError> {
        let mut lease = self.lease(None).await?;
        let statement = bind(lease.prepared(sqlx::query(statement)));
        if !self.session.is_lent() {
            let row = statement.fetch_optional(lease.idle_connection().await?).await?;
            lease.hand_back();
            return Ok(row);
        }
        // A pooler may send what is prepared, and what is then run, to different servers.
        lease.begin(SearchPath::Shared).await?;
        let row = statement.fetch_optional(lease.connection()).await?;
        lease.roll_back_unattended();
        Ok(row)
    }

    /// Opens a read-only transaction in which unqualified names are `schema`'s, and nobody else's.
    pub(crate) async fn begin_tenant(&self, schema: &SchemaName) -> Result<TenantTransaction, DatabaseError> {
        TenantTransaction::begin(self.lease(Some(schema)).await?, schema).await
    }

    /// The tenant that the user was last seen in, where that is remembered. They may belong to another
    /// by now: only a statement in that tenant's transaction can tell.
    pub(crate) fn hinted_tenant(&self, user_id: &str) -> Option<Arc<SchemaName>> {
        self.hints.get(user_id)
    }

    /// Remembers that the user was seen in `tenant`.
    pub(crate) fn hint_at(&self, user_id: &str, tenant: &Arc<SchemaName>) {
        self.hints.set(user_id, tenant);
    }

    /// Forgets a hint that led nowhere.
    pub(crate) fn forget_hint(&self, user_id: &str) {
        self.hints.forget(user_id);
    }

    /// A connection of the pool. The first one is lent when the self-test has passed.
    async fn lease(&self, tenant: Option<&SchemaName>) -> Result<Lease, DatabaseError> {
        if !self.isolated.initialized() {
            let tested = self.isolated.get_or_try_init(|| Box::pin(self_test::run(self)));
            self.in_time(tested).await??;
        }
        self.acquire(tenant).await
    }

    /// A connection of the pool, tested or not, which suits `tenant` best.
    pub(super) async fn acquire(&self, tenant: Option<&SchemaName>) -> Result<Lease, DatabaseError> {
        // Where nothing stays prepared, all connections suit the same.
        let tenant = tenant.filter(|_| !self.session.is_lent());
        let acquire = async {
            let mut checkout = self.parking.take(tenant).await.ok_or(sqlx::Error::PoolClosed)?;
            checkout.connect(&self.pool).await?;
            Ok(checkout)
        };
        match self.in_time(acquire).await? {
            Ok(checkout) => Ok(Lease::new(checkout, self.session)),
            Err(sqlx::Error::PoolTimedOut) => Err(self.no_connection()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives up where there is no connection within the time for that.
    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, DatabaseError> {
        tokio::time::timeout(self.pool.options().get_acquire_timeout(), work)
            .await
            .map_err(|_| self.no_connection())
    }

    fn no_connection(&self) -> DatabaseError {
        DatabaseError::NoConnection {
            most: self.pool.options().get_max_connections(),
            made: self.pool.size(),
            idle: self.parking.parked(),
        }
    }

    /// A connection that is set up as those of the pool are, and not one of them.
    pub(super) async fn connect_as_pool_does(&self) -> Result<PgConnection, DatabaseError> {
        Ok(self.pool.connect_options().connect().await?)
    }

    /// Whether a pooler is known to be in between.
    pub(super) fn expects_pooler(&self) -> bool {
        self.session.is_lent()
    }

    /// Whether tenants are read as roles of their own.
    pub(super) fn expects_roles(&self) -> bool {
        self.session.has_roles()
    }

    /// Closes the pool: waits for the connections at work, lends out no more.
    pub async fn close(&self) {
        self.parking.close();
        self.pool.close().await;
    }
}

/// How to connect to `url`, before anything else is set.
pub(super) fn connect_options(url: &DatabaseUrl) -> Result<PgConnectOptions, InvalidDatabaseUrl> {
    let url = url.expose();
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
    {
        return Err(InvalidDatabaseUrl::Malformed(None));
    }
    let authority = url.split('/').nth(2).unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.contains(',') {
        return Err(InvalidDatabaseUrl::SeveralHosts);
    }
    let options =
        PgConnectOptions::from_str(url).map_err(|error| InvalidDatabaseUrl::Malformed(Some(error)))?;
    if options.get_host().contains(',') {
        return Err(InvalidDatabaseUrl::SeveralHosts);
    }
    Ok(options.application_name("tenant-orders"))
}
