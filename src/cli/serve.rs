//! `serve`: the service, over the database that is named or over a demo of its own.

use std::time::Duration;

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
use crate::tenancy::{Database, DatabaseError};
use crate::{error_chain, seed, users};

/// Between the first two questions whether the database is there.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Between two such questions at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) async fn serve(settings: ServeSettings, signals: StopSignals) -> Result<(), CommandError> {
    let authenticator = Authenticator::open(&settings.authentication).await?;
    // First of all, so that an address in use is told before anything is started.
    let listener = listen(&settings, authenticator.is_some()).await?;
    let mut pool = settings.pool.clone();
    // What a request does not wait for any more need not go on.
    pool.statement_timeout = pool.statement_timeout.min(settings.request.request_timeout);
    let is_embedded = settings.database.url().is_none();
    let served = with_database(&settings.database, async |url| {
        let database = Database::open(url, &pool)?;
        if is_embedded {
            let admin_database = AdminDatabase::new(url)?.with_roles(&pool.roles);
            unless_stopped(
                &signals,
                Box::pin(prepare_demo(&admin_database, &database, &signals)),
            )
            .await?;
            let address = listener.local_addr().map_err(ServeError::from)?;
            output::step("serving the demo; try");
            let token = match (&authenticator, settings.authentication.secret()) {
                (None, _) => "",
                (Some(_), Some(_)) => r#"-H "Authorization: Bearer $(tenant-orders token 1)" "#,
                (Some(_), None) => r#"-H "Authorization: Bearer $TOKEN" "#,
            };
            output::step(&format!("  curl {token}http://{address}/users/1/orders"));
        }
        let serving = server::run(
            listener,
            database.clone(),
            &settings,
            authenticator,
            signals.clone().received(1),
        );
        tokio::select! {
            served = serving => Ok(served?),
            unfit = refused(&database) => Err(CommandError::Unfit(unfit)),
            () = signals.clone().received(2) => Err(CommandError::Interrupted),
        }
    })
    .await;
    match served {
        Err(CommandError::Stopped) => Ok(()), // before there was anything to finish
        served => served,
    }
}

/// Takes the address to listen on. One that others can reach needs authentication, or somebody who says
/// that it does not.
async fn listen(settings: &ServeSettings, is_authenticated: bool) -> Result<TcpListener, CommandError> {
    let address = format!("{}:{}", settings.host, settings.port);
    let failed = |source| CommandError::Listen {
        address: address.clone(),
        source,
    };
    // The name is looked up once, so that what is judged is what is listened on.
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
            "requests are not authenticated: who reaches {} may read every user's orders, \
             until JWT_SECRET or JWT_PUBLIC_KEY_FILE is set",
            settings.host
        );
    }
    TcpListener::bind(addresses.as_slice()).await.map_err(failed)
}

/// Makes the demo in a database that is new, and migrates one that is not. A tenant that cannot be
/// migrated is reported, and served as it is.
async fn prepare_demo(
    admin_database: &AdminDatabase,
    database: &Database,
    signals: &StopSignals,
) -> Result<(), CommandError> {
    let mut output = FleetOutput::new("up to date");
    let (job, options) = (MigrateTenant::default(), RunOptions::default());
    migrate_tenants(admin_database, &[], job, options, &mut output, signals).await?;
    if users::are_none(database).await.map_err(AdminError::from)? {
        seed::demo(admin_database).await?;
    }
    Ok(())
}

/// Waits for the database, and tells how that goes. Comes back only where it is one that must not be
/// served.
async fn refused(database: &Database) -> DatabaseError {
    let mut pause = FIRST_PAUSE;
    loop {
        match users::check(database).await {
            Ok(()) => break,
            Err(error @ DatabaseError::NotIsolated(_)) => return error,
            Err(error) => tracing::warn!(
                cause = error_chain::messages(&error).join(": "),
                "waiting for the database, asking again in {pause:?}"
            ),
        }
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
    tracing::info!("the database is ready");
    std::future::pending().await
}
