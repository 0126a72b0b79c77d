//! `serve`: runs the service on the configured database, or on an embedded one with the demo.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tokio::net::{TcpListener, lookup_host};

use super::migrate::migrate_tenants;
use super::output::FleetOutput;
use super::{CommandError, output, unless_stopped, with_database};
use crate::admin::AdminDatabase;
use crate::admin::AdminError;
use crate::admin::migrations::MigrateTenant;
use crate::admin::runner::RunOptions;
use crate::authentication::Authenticator;
use crate::config::ServeSettings;
use crate::server::{self, ServeError, StopSignals};
use crate::tenancy::DatabaseError;
use crate::users::UserDirectory;
use crate::{error_chain, seed};

/// Delay after the first failed check of the database.
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
/// Maximum delay between two checks of the database.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

pub(super) async fn serve(settings: ServeSettings, signals: StopSignals) -> Result<(), CommandError> {
    let authenticator = Authenticator::open(&settings.authentication).await?;
    // Before anything is started, so that an address in use is reported at once.
    let listener = listen(&settings, authenticator.is_some()).await?;
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
        let serving = server::run(
            listener,
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
    let address = format!("{}:{}", settings.host, settings.port);
    let failed = |source| CommandError::Listen {
        address: address.clone(),
        source,
    };
    // Resolves the name once, so that the checked addresses are the ones to bind.
    let resolved = lookup_host((settings.host.as_str(), settings.port)).await;
    let addresses: Vec<_> = resolved.map_err(failed)?.collect();
    if is_authenticated {
        tracing::info!("requests for orders need a token");
    } else {
        let is_local = addresses
            .iter()
            .all(|address| address.ip().to_canonical().is_loopback());
        if !is_local && !settings.allow_unauthenticated {
            return Err(CommandError::Unauthenticated { address });
        }
        tracing::warn!(
            "requests are not authenticated: every client that reaches {} can read all orders; \
             set JWT_SECRET, JWT_PUBLIC_KEY_FILE or JWT_JWKS_URL",
            settings.host
        );
    }
    TcpListener::bind(addresses.as_slice()).await.map_err(failed)
}

/// Migrates the database, and creates the demo if it has no users. A tenant that fails to migrate is reported
/// and served as it is.
async fn prepare_demo(
    admin_database: &AdminDatabase,
    users: &UserDirectory,
    signals: &StopSignals,
) -> Result<(), CommandError> {
    let mut output = FleetOutput::new("up to date");
    let (job, options) = (MigrateTenant::default(), RunOptions::default());
    migrate_tenants(admin_database, &[], job, options, &mut output, signals).await?;
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
                "waiting for the database; next check in {backoff:?}"
            );
        })
        .await;
    if let Err(error) = checked {
        return error;
    }
    tracing::info!("the database is ready");
    std::future::pending().await
}
