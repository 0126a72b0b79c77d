//! The database as the service sees it: messages to a tenant's schema and to the shared tables, nothing else.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use sqlx::postgres::PgRow;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::id_type::must_repeat;
use super::message::{Message, MessageForms};
use super::pool::{Pool, PoolLimits, PoolStatus, TenantLimits};
use super::reply::{MessageError, Reply};
use super::session_settings::SessionSettings;
use super::statement::{MessageForm, Query, TenantQuery};
use super::{DatabaseError, RequestTimings, SchemaName, Step, isolation_check};
use crate::config::{DatabaseUrl, PoolSettings};
use crate::connect::{Connector, InvalidDatabaseUrl};
use crate::error_chain;
use crate::request_context::current_request_id;

/// Time after which a message asks for the types of ids again: a migration may have changed them.
const ID_TYPES_LIFETIME: Duration = Duration::from_mins(1);
/// Maximum number of tenants for which the form of messages is known.
const MAX_TENANT_FORMS: usize = 10_000;

/// A database, reached through a pool of connections. Clones share the pool.
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

struct Shared {
    /// The database's name, for traces.
    name: String,
    pool: Arc<Pool>,
    acquire_timeout: Duration,
    settings: SessionSettings,
    /// The settings that the server needs; set once the connections have passed the isolation check.
    checked: OnceCell<SessionSettings>,
    /// The forms of messages to tenants, and to the shared tables under `None`.
    forms: Cache<Option<Arc<SchemaName>>, (MessageForm, Instant)>,
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
            tenants: TenantLimits {
                max_requests: settings.tenant_share(),
                max_waiting: settings.tenant_max_waiting_requests,
            },
            close_timeout: settings.statement_timeout,
            connect_timeout: settings.acquire_timeout,
        };
        let shared = Shared {
            name: connector.database_name().to_owned(),
            pool: Pool::new(connector, &limits),
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
        match self.send_in_any_form(timings, query, None).await {
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
        self.send_in_any_form(timings, shared, Some((tenant, query)))
            .await
    }

    /// Sends a message in the form that the tenant's tables need, or that is found now.
    async fn send_in_any_form(
        &self,
        timings: &RequestTimings,
        shared: Query<'_>,
        in_tenant: Option<(&Arc<SchemaName>, TenantQuery<'_>)>,
    ) -> Result<Reply, MessageError> {
        let tenant = in_tenant.map(|(tenant, _)| Arc::clone(tenant));
        let mut forms = MessageForms {
            shared: self.form(None),
            tenant: self.form(tenant.as_ref()),
        };
        loop {
            let error = match self.send_with_retry(timings, forms, shared, in_tenant).await {
                Ok(reply) => {
                    self.remember_id_types(&reply, forms, tenant.as_ref());
                    let found = reply.tenant_id_types;
                    if found.is_some_and(|found| must_repeat(forms.tenant.id_types(), found)) {
                        forms.tenant = self.form(tenant.as_ref());
                        continue;
                    }
                    return Ok(reply);
                }
                Err(error) => error,
            };
            let Some(other) = error.other_forms(forms) else {
                return Err(error);
            };
            let cause = error_chain::messages(&error.source).join(": ");
            tracing::info!(
                tenant = tenant.as_deref().map(SchemaName::as_str),
                cause,
                request_id = current_request_id(),
                "sending the message again in another form"
            );
            // The other part keeps the time since which its form is known.
            if other.shared != forms.shared {
                self.remember(None, other.shared);
            } else if tenant.is_some() {
                self.remember(tenant.clone(), other.tenant);
            }
            forms = other;
        }
    }

    /// The form of messages to a tenant, or to the shared tables.
    fn form(&self, tenant: Option<&Arc<SchemaName>>) -> MessageForm {
        let (mut form, asks) = match self.shared.forms.get(&tenant.cloned()) {
            Some((form, known_since)) => (form, known_since.elapsed() > ID_TYPES_LIFETIME),
            None => (MessageForm::default(), true),
        };
        form.asks_for_id_types = asks || form.id_types.is_none();
        form
    }

    fn remember(&self, tenant: Option<Arc<SchemaName>>, form: MessageForm) {
        self.shared.forms.insert(tenant, (form, Instant::now()));
    }

    fn remember_id_types(&self, reply: &Reply, forms: MessageForms, tenant: Option<&Arc<SchemaName>>) {
        for (id_types, form, name) in [
            (reply.shared_id_types, forms.shared, None),
            (reply.tenant_id_types, forms.tenant, tenant),
        ] {
            if id_types.is_some() {
                self.remember(name.cloned(), MessageForm { id_types, ..form });
            }
        }
    }

    /// Sends a message, and sends it again on a new connection if the server gave the first one up: nothing
    /// was written.
    async fn send_with_retry(
        &self,
        timings: &RequestTimings,
        forms: MessageForms,
        shared: Query<'_>,
        in_tenant: Option<(&Arc<SchemaName>, TenantQuery<'_>)>,
    ) -> Result<Reply, MessageError> {
        let error = match self.send(timings, forms, shared, in_tenant, false).await {
            Err(error) if error.source.is_retryable() => error.source,
            reply => return reply,
        };
        let cause = error_chain::messages(&error).join(": ");
        let request_id = current_request_id();
        tracing::info!(cause, request_id, "sending the message again on a new connection");
        // Seldom done, and large.
        Box::pin(self.send(timings, forms, shared, in_tenant, true)).await
    }

    async fn send(
        &self,
        timings: &RequestTimings,
        forms: MessageForms,
        shared: Query<'_>,
        in_tenant: Option<(&Arc<SchemaName>, TenantQuery<'_>)>,
        is_retry: bool,
    ) -> Result<Reply, MessageError> {
        let tenant = in_tenant.map(|(tenant, _)| tenant);
        let (settings, mut connection) = timings
            .step::<_, DatabaseError>(Step::Acquire, &self.shared.name, async {
                let deadline = self.deadline();
                let settings = self.checked_settings(deadline).await?;
                let has_affinity = settings.allows_prepared_statements();
                let tenant = tenant.map(Arc::as_ref);
                let acquired = self.shared.pool.acquire(tenant, has_affinity, deadline, is_retry);
                let connection = acquired.await?;
                Ok((settings, connection))
            })
            .await?;
        let can_prepare = settings.allows_prepared_statements();
        let forms = MessageForms {
            shared: forms.shared.inline_unless(can_prepare),
            tenant: forms.tenant.inline_unless(can_prepare && connection.is_home()),
        };
        let step = if tenant.is_some() {
            Step::Query
        } else {
            Step::Lookup
        };
        timings
            .step(step, &self.shared.name, async {
                let (stream, prepared) = connection.parts();
                let message = Message::new(settings, forms, prepared, shared, in_tenant);
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
