//! `serve`: runs the service on the configured database, or on an embedded one with the demo.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tokio::net::{TcpListener, lookup_host};

use super::database::{unless_stopped, with_database};
use super::rollout::migrate_embedded;
use super::{CommandError, output};
use crate::admin::AdminDatabase;
use crate::admin::AdminError;
use crate::authentication::Authenticator;
use crate::config::{DatabaseUrl, PoolSettings, ServeSettings};
use crate::server::{self, AdminPort, ServeError, StopSignals};
use crate::tenancy::DatabaseError;
use crate::users::UserDirectory;
use crate::{error_chain, seed};

/// Delay after the first failed check of the database.
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
/// Maximum delay between two checks of the database.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

pub(super) async fn serve(settings: ServeSettings, signals: StopSignals) -> Result<(), CommandError> {
    let authenticator = Authenticator::open(&settings.authentication).await?;
    if settings.listen.has_port_conflict() {
        return Err(CommandError::PortConflict(settings.listen.port));
    }
    // Before anything is started, so that an address in use is reported at once.
    let listener = listen(&settings, authenticator.is_some()).await?;
    let admin_listener = match settings.listen.admin_address() {
        Some((host, port)) => Some(bind(host, port).await?),
        None => None,
    };
    let mut pool = settings.pool.clone();
    // A statement must not outlive its request.
    pool.statement_timeout = pool.statement_timeout.min(settings.request.request_timeout);
    let is_embedded = settings.database.url().is_none();
    let served = with_database(&settings.database, async |url| {
        let users = UserDirectory::open(url, &pool)?;
        if is_embedded {
            let admin_database = AdminDatabase::new(url)?.with_roles(&pool.roles);
            unless_stopped(
                &signals,
                Box::pin(prepare_demo(&admin_database, &users, &signals)),
            )
            .await?;
            let address = listener.local_addr().map_err(ServeError::from)?;
            let token = match (&authenticator, &settings.authentication.jwt_secret) {
                (None, _) => "",
                (Some(_), Some(_)) => r#"-H "Authorization: Bearer $(tenant-orders token 1)" "#,
                (Some(_), None) => r#"-H "Authorization: Bearer $TOKEN" "#,
            };
            output::status(&format!(
                "serving the demo; try:\n  curl {token}http://{address}/users/1/orders"
            ));
        }
        let admin_port = admin_listener
            .map(|listener| open_admin_port(listener, url, &pool))
            .transpose()?;
        let serving = server::run(
            listener,
            admin_port,
            users.clone(),
            &settings,
            authenticator,
            signals.clone().wait_for(1),
        );
        tokio::select! {
            served = serving => Ok(served?),
            error = wait_for_unsafe_database(&users) => Err(CommandError::Unfit(error)),
            () = signals.clone().wait_for(2) => Err(CommandError::Interrupted),
        }
    })
    .await;
    match served {
        Err(CommandError::Stopped) => Ok(()), // a signal during startup is a clean shutdown
        served => served,
    }
}

/// Binds the address. Without authentication, an address beyond loopback needs `ALLOW_UNAUTHENTICATED`.
async fn listen(settings: &ServeSettings, is_authenticated: bool) -> Result<TcpListener, CommandError> {
    let (host, port) = (settings.listen.host.as_str(), settings.listen.port);
    let failed = |source| listen_error(host, port, source);
    // Resolves the name once, so that the checked addresses are the ones to bind.
    let addresses: Vec<_> = lookup_host((host, port)).await.map_err(failed)?.collect();
    if is_authenticated {
        tracing::info!("requests for orders need a token");
    } else {
        let is_local = addresses
            .iter()
            .all(|address| address.ip().to_canonical().is_loopback());
        if !is_local && !settings.allow_unauthenticated {
            let address = format!("{host}:{port}");
            return Err(CommandError::Unauthenticated { address });
        }
        tracing::warn!(
            "requests are not authenticated: every client that reaches {} can read all orders; \
             set JWT_SECRET, JWT_PUBLIC_KEY_FILE or JWT_JWKS_URL",
            host
        );
    }
    TcpListener::bind(addresses.as_slice()).await.map_err(failed)
}

/// Binds the port for probes and metrics.
async fn bind(host: &str, port: u16) -> Result<TcpListener, CommandError> {
    let bound = TcpListener::bind((host, port)).await;
    bound.map_err(|source| listen_error(host, port, source))
}

fn listen_error(host: &str, port: u16, source: std::io::Error) -> CommandError {
    let address = format!("{host}:{port}");
    CommandError::Listen { address, source }
}

/// Returns the port for probes with a database connection of its own: if requests use all connections of the pool,
/// the service is overloaded but ready.
fn open_admin_port(
    listener: TcpListener,
    url: &DatabaseUrl,
    pool: &PoolSettings,
) -> Result<AdminPort, CommandError> {
    let pool = PoolSettings {
        database_max_connections: 1,
        tenant_cache_size: 0,
        ..pool.clone()
    };
    let users = UserDirectory::open(url, &pool)?;
    Ok(AdminPort { listener, users })
}

/// Migrates the database, and creates the demo if it has no users. A tenant that fails to migrate is reported
/// and served as it is.
async fn prepare_demo(
    admin_database: &AdminDatabase,
    users: &UserDirectory,
    signals: &StopSignals,
) -> Result<(), CommandError> {
    migrate_embedded(admin_database, signals).await?;
    if users.is_empty().await.map_err(AdminError::from)? {
        seed::demo(admin_database).await?;
    }
    Ok(())
}

/// Checks the database until it is ready, and logs the failures. Returns only if the isolation of tenants is
/// not guaranteed.
async fn wait_for_unsafe_database(users: &UserDirectory) -> DatabaseError {
    let backoff = ExponentialBuilder::default()
        .with_min_delay(INITIAL_BACKOFF)
        .with_max_delay(MAX_BACKOFF)
        .without_max_times();
    let checked = (|| users.check())
        .retry(backoff)
        .when(|error| !matches!(error, DatabaseError::NotIsolated(_)))
        .notify(|error, backoff| {
            tracing::warn!(
                cause = error_chain::messages(error).join(": "),
                "waiting for the database; next check in {backoff:.1?}"
            );
        })
        .await;
    if let Err(error) = checked {
        return error;
    }
    tracing::info!("the database is ready");
    std::future::pending().await
}
