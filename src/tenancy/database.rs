//! The database as the service sees it: messages to a tenant's schema and to the shared tables, nothing else.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use sqlx::postgres::PgRow;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::connect::{Connector, InvalidDatabaseUrl};
use super::message::{Message, MessageForm, Query, TenantQuery};
use super::pool::{LimitError, Pool, PoolLimits, PoolStatus, TenantLimits, TenantPermit};
use super::reply::{MessageError, Reply};
use super::session_settings::SessionSettings;
use super::{DatabaseError, RequestTimings, SchemaName, Step, isolation_check};
use crate::config::{DatabaseUrl, PoolSettings};
use crate::error_chain;

/// Maximum number of tenants whose messages are known to need another form.
const MAX_TENANT_FORMS: usize = 10_000;

/// A database, reached through a pool of connections. Clones share the pool.
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Arc<Pool>,
    limits: Arc<TenantLimits>,
    acquire_timeout: Duration,
    settings: SessionSettings,
    /// The settings that the server needs; set once the connections have passed the isolation check.
    checked: OnceCell<SessionSettings>,
    /// The forms of messages to tenants that need another one than most, such as those with foreign tables.
    forms: Cache<Arc<SchemaName>, MessageForm>,
}

impl Database {
    /// Makes the pool. It opens no connection before the first is needed, so the database may be down.
    /// Must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`InvalidDatabaseUrl`].
    pub fn open(url: &DatabaseUrl, settings: &PoolSettings) -> Result<Self, InvalidDatabaseUrl> {
        let session = SessionSettings::new(settings);
        let connector = Connector::new(url)?.with_options(|options| session.apply(options));
        let limits = PoolLimits {
            connections: usize::try_from(settings.database_max_connections).unwrap_or(usize::MAX),
            statement_cache: settings.database_statement_cache,
            close_timeout: settings.statement_timeout,
            connect_timeout: settings.acquire_timeout,
        };
        let shared = Shared {
            pool: Pool::new(connector, &limits),
            limits: Arc::new(TenantLimits::new(
                settings.tenant_share(),
                settings.tenant_max_waiting_requests,
            )),
            acquire_timeout: settings.acquire_timeout,
            settings: session,
            checked: OnceCell::new(),
            forms: Cache::new(MAX_TENANT_FORMS),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Runs one statement over shared tables, which it names with their schema.
    ///
    /// Dropping the future closes the connection that it uses.
    pub(crate) async fn query_shared(
        &self,
        timings: &RequestTimings,
        query: Query<'_>,
    ) -> Result<Vec<PgRow>, DatabaseError> {
        match self
            .send_with_retry(timings, MessageForm::default(), query, None)
            .await
        {
            Ok(reply) => Ok(reply.shared),
            Err(error) => Err(error.source),
        }
    }

    /// Runs `shared` over shared tables, then `query` in the schema of `tenant`, in one message.
    ///
    /// The rows of `query` must be used only if those of `shared` show that the request may read this tenant.
    ///
    /// Dropping the future closes the connection that it uses.
    pub(crate) async fn query_tenant(
        &self,
        timings: &RequestTimings,
        tenant: &Arc<SchemaName>,
        shared: Query<'_>,
        query: TenantQuery<'_>,
    ) -> Result<Reply, MessageError> {
        timings.set_tenant(tenant);
        let mut form = self.shared.forms.get(tenant).unwrap_or_default();
        loop {
            let sent = self.send_with_retry(timings, form, shared, Some((tenant, query)));
            let error = match sent.await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            match error.other_form(form) {
                Some(other) if other != form => {
                    let cause = error_chain::messages(&error.source).join(": ");
                    tracing::info!(
                        tenant = tenant.as_str(),
                        cause,
                        "trying another form of the message"
                    );
                    self.shared.forms.insert(Arc::clone(tenant), other);
                    form = other;
                }
                _ => return Err(error),
            }
        }
    }

    /// Sends a message, and sends it again on a new connection if the server gave the first one up: nothing
    /// was written.
    async fn send_with_retry(
        &self,
        timings: &RequestTimings,
        form: MessageForm,
        shared: Query<'_>,
        in_tenant: Option<(&Arc<SchemaName>, TenantQuery<'_>)>,
    ) -> Result<Reply, MessageError> {
        let error = match self.send(timings, form, shared, in_tenant, false).await {
            Err(error) if error.source.is_retryable() => error.source,
            reply => return reply,
        };
        let cause = error_chain::messages(&error).join(": ");
        tracing::info!(cause, "trying again on a new connection");
        // Seldom done, and large.
        Box::pin(self.send(timings, form, shared, in_tenant, true)).await
    }

    async fn send(
        &self,
        timings: &RequestTimings,
        form: MessageForm,
        shared: Query<'_>,
        in_tenant: Option<(&Arc<SchemaName>, TenantQuery<'_>)>,
        is_retry: bool,
    ) -> Result<Reply, MessageError> {
        let tenant = in_tenant.map(|(tenant, _)| tenant);
        let (settings, mut connection) = timings
            .step::<_, DatabaseError>(Step::Acquire, async {
                let deadline = self.deadline();
                let settings = self.checked_settings(deadline).await?;
                let permit = match tenant {
                    Some(tenant) => Some(self.tenant_permit(tenant, deadline).await?),
                    None => None,
                };
                let preferred_by = tenant.filter(|_| settings.allows_prepared_statements());
                let connection = self
                    .shared
                    .pool
                    .acquire(preferred_by.map(Arc::as_ref), deadline, is_retry)
                    .await?;
                Ok((settings, connection.with_permit(permit)))
            })
            .await?;
        let form = MessageForm {
            is_inline: form.is_inline || !settings.allows_prepared_statements(),
            ..form
        };
        let step = if tenant.is_some() {
            Step::Query
        } else {
            Step::Lookup
        };
        timings
            .step(step, async {
                let (stream, prepared) = connection.parts();
                let message = Message::new(settings, form, prepared, shared, in_tenant);
                let reply = Reply::read(stream, message).await?;
                connection.check_in();
                Ok(reply)
            })
            .await
    }

    /// The settings of connections that have passed the isolation check, which the first request runs.
    async fn checked_settings(&self, deadline: Instant) -> Result<&SessionSettings, DatabaseError> {
        if let Some(settings) = self.shared.checked.get() {
            return Ok(settings);
        }
        let check = self.shared.checked.get_or_try_init(|| {
            Box::pin(isolation_check::run(
                &self.shared.pool,
                &self.shared.settings,
                deadline,
            ))
        });
        match tokio::time::timeout_at(deadline, check).await {
            Ok(checked) => checked,
            Err(_) => Err(self.shared.pool.acquire_timeout()),
        }
    }

    async fn tenant_permit(
        &self,
        tenant: &Arc<SchemaName>,
        deadline: Instant,
    ) -> Result<TenantPermit, DatabaseError> {
        let permit = self.shared.limits.acquire(tenant, deadline).await;
        permit.map_err(|error| match error {
            LimitError::TenantSaturated => DatabaseError::TenantLimit,
            LimitError::PoolExhausted => self.shared.pool.acquire_timeout(),
        })
    }

    /// The time until which a request that begins now waits for a connection.
    fn deadline(&self) -> Instant {
        Instant::now() + self.shared.acquire_timeout
    }

    /// The pool as it is now.
    #[must_use]
    pub fn pool_status(&self) -> PoolStatus {
        self.shared.pool.status()
    }

    /// Closes all connections once the requests that use them have finished. Later requests fail.
    pub async fn close(&self) {
        self.shared.pool.close().await;
    }
}
