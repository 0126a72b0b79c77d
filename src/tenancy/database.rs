//! The pool, which nobody else can get at.

#![expect(clippy::disallowed_types, reason = "the one holder of the pool")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::postgres::{PgPoolOptions, PgRow};
use sqlx::{ConnectOptions, PgConnection, PgPool};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::database_url::{InvalidDatabaseUrl, connect_options};
use super::hints::Hints;
use super::lease::Lease;
use super::parking::Parking;
use super::session::{SearchPath, Session, Statement};
use super::shares::{NoShare, Shares};
use super::transaction::TenantTransaction;
use super::{
    DatabaseError, PoolStatus, RequestTimings, SchemaName, Step, TenantCacheCounts, isolation_check,
};
use crate::config::{DatabaseUrl, PoolSettings};

/// The database: a pool of connections, lent out only in scopes that clean up after themselves. Clones are
/// the same database, and cost next to nothing: there are several for each request.
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

struct Shared {
    pool: PgPool,
    parking: Arc<Parking>,
    shares: Arc<Shares>,
    hints: Hints,
    session: Session,
    /// Set once the connections were seen to keep tenants apart.
    isolated: OnceCell<()>,
    /// How often there was no connection in time.
    timeouts: AtomicU64,
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
        let shared = Shared {
            pool,
            parking: Arc::new(Parking::new(
                settings.database_max_connections,
                settings.database_statement_cache / 2, // a tenant may take two
            )),
            shares: Arc::new(Shares::new(
                settings.tenant_share(),
                settings.tenant_max_waiting_requests,
            )),
            hints: Hints::new(settings.tenant_cache_size),
            session,
            isolated: OnceCell::new(),
            timeouts: AtomicU64::new(0),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Runs one statement over schema-qualified, shared tables, in no tenant's scope.
    pub(crate) async fn fetch_optional(
        &self,
        trace: &RequestTimings,
        statement: &'static str,
        bind: impl FnOnce(Statement<'_>) -> Statement<'_>,
    ) -> Result<Option<PgRow>, DatabaseError> {
        let lease = trace
            .step(Step::Acquire, self.lease(None, self.deadline()))
            .await?;
        trace
            .step(Step::Lookup, self.fetch_optional_by(lease, statement, bind))
            .await
    }

    async fn fetch_optional_by(
        &self,
        mut lease: Lease,
        statement: &'static str,
        bind: impl FnOnce(Statement<'_>) -> Statement<'_>,
    ) -> Result<Option<PgRow>, DatabaseError> {
        let statement = bind(lease.prepared(sqlx::query(statement)));
        if !self.shared.session.is_lent() {
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

    /// Opens a read-only transaction in which unqualified names are `schema`'s, and nobody else's. Waits for
    /// its turn where the tenant has as many open as it may.
    pub(crate) async fn begin_tenant(
        &self,
        trace: &RequestTimings,
        schema: &Arc<SchemaName>,
    ) -> Result<TenantTransaction, DatabaseError> {
        let lease = trace.step(Step::Acquire, self.lease_for(schema)).await?;
        trace
            .step(Step::Begin, TenantTransaction::begin(lease, schema))
            .await
    }

    /// A connection for the tenant, when it is its turn.
    async fn lease_for(&self, schema: &Arc<SchemaName>) -> Result<Lease, DatabaseError> {
        let deadline = self.deadline();
        let share = self.shared.shares.take(schema, deadline).await;
        let share = share.map_err(|refusal| match refusal {
            NoShare::Busy => DatabaseError::TenantLimit,
            NoShare::Stuck => self.no_connection(),
        })?;
        let lease = self.lease(Some(schema), deadline).await?;
        Ok(lease.on_behalf_of(share))
    }

    /// Until when who asks now waits for a connection.
    fn deadline(&self) -> Instant {
        Instant::now() + self.shared.pool.options().get_acquire_timeout()
    }

    /// The tenant that the user was last seen in, where that is remembered. They may belong to another
    /// by now: only a statement in that tenant's transaction can tell.
    pub(crate) fn hinted_tenant(&self, user_id: &str) -> Option<Arc<SchemaName>> {
        self.shared.hints.get(user_id)
    }

    /// Remembers that the user was seen in `tenant`.
    pub(crate) fn hint_at(&self, user_id: &str, tenant: &Arc<SchemaName>) {
        self.shared.hints.set(user_id, tenant);
    }

    /// Forgets a hint that led nowhere.
    pub(crate) fn forget_hint(&self, user_id: &str) {
        self.shared.hints.forget(user_id);
    }

    /// A connection of the pool. The first one is lent when the self-test has passed.
    async fn lease(&self, tenant: Option<&SchemaName>, deadline: Instant) -> Result<Lease, DatabaseError> {
        if !self.shared.isolated.initialized() {
            let tested = self
                .shared
                .isolated
                .get_or_try_init(|| Box::pin(isolation_check::run(self)));
            self.in_time(deadline, tested).await??;
        }
        self.acquire(tenant, deadline).await
    }

    /// A connection of the pool, tested or not, which suits no tenant in particular.
    pub(super) async fn untested(&self) -> Result<Lease, DatabaseError> {
        self.acquire(None, self.deadline()).await
    }

    /// A connection of the pool, tested or not, which suits `tenant` best.
    async fn acquire(&self, tenant: Option<&SchemaName>, deadline: Instant) -> Result<Lease, DatabaseError> {
        // Where nothing stays prepared, all connections suit the same.
        let tenant = tenant.filter(|_| !self.shared.session.is_lent());
        let acquire = async {
            let mut checkout = self
                .shared
                .parking
                .take(tenant)
                .await
                .ok_or(sqlx::Error::PoolClosed)?;
            checkout.connect(&self.shared.pool).await?;
            Ok(checkout)
        };
        match self.in_time(deadline, acquire).await? {
            Ok(checkout) => Ok(Lease::new(checkout, self.shared.session)),
            Err(sqlx::Error::PoolTimedOut) => Err(self.no_connection()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives up where there is no connection within the time for that.
    async fn in_time<T>(&self, deadline: Instant, work: impl Future<Output = T>) -> Result<T, DatabaseError> {
        tokio::time::timeout_at(deadline, work)
            .await
            .map_err(|_| self.no_connection())
    }

    fn no_connection(&self) -> DatabaseError {
        self.shared.timeouts.fetch_add(1, Ordering::Relaxed);
        let status = self.pool_status();
        DatabaseError::AcquireTimeout {
            most: status.limit,
            made: status.size,
            idle: status.idle,
        }
    }

    /// The pool as it is now.
    #[must_use]
    pub fn pool_status(&self) -> PoolStatus {
        let occupancy = self.shared.parking.occupancy();
        PoolStatus {
            limit: self.shared.pool.options().get_max_connections(),
            size: self.shared.pool.size(),
            idle: occupancy.parked + self.shared.pool.num_idle(),
            in_use: occupancy.in_use,
            waiting: occupancy.waiting,
            timeouts: self.shared.timeouts.load(Ordering::Relaxed),
        }
    }

    /// How good the hints were so far.
    #[must_use]
    pub fn tenant_cache_counts(&self) -> TenantCacheCounts {
        self.shared.hints.counts()
    }

    /// A connection that is set up as those of the pool are, and not one of them.
    pub(super) async fn connect_as_pool_does(&self) -> Result<PgConnection, DatabaseError> {
        Ok(self.shared.pool.connect_options().connect().await?)
    }

    /// Whether a pooler is known to be in between.
    pub(super) fn expects_pooler(&self) -> bool {
        self.shared.session.is_lent()
    }

    /// Whether tenants are read as roles of their own.
    pub(super) fn expects_roles(&self) -> bool {
        self.shared.session.has_roles()
    }

    /// Closes the pool: waits for the connections at work, lends out no more.
    pub async fn close(&self) {
        self.shared.parking.close();
        self.shared.pool.close().await;
    }
}
