//! The service's lifecycle: serve until shutdown, finish the requests in flight, close the pool.

mod admin_port;
mod client_stream;
mod connections;
mod lifecycle;
mod open_files;
mod signals;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::authentication::Authenticator;
use crate::config::ServeSettings;
use crate::http;
use crate::telemetry::Metrics;
use crate::users::UserDirectory;
pub(crate) use admin_port::AdminPort;
use admin_port::MAX_ADMIN_CLIENTS;
use connections::{Connections, MAX_REJECTED_CLIENTS};
use lifecycle::{Activity, Lifecycle, Phase};
pub use signals::{StopSignals, stop_signals};

/// First part of a shutdown: the service still accepts connections and serves requests, and asks
/// each client to close its connection. If the service closes a connection, the client's next request can
/// be lost on the way; if the client closes it, no request is lost. The time is long enough for the next
/// request of a busy client, and short compared with the default of `SHUTDOWN_TIMEOUT`.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum time for which a shutdown waits for the rest of a partly received request head, and for a client
/// to read more of its response.
const QUIET_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum time for busy database connections to return to the pool after the last request.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Error of [`run`].
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener has no address.
    #[error("failed to read the listener's address")]
    Listener(#[from] io::Error),
    /// Requests took longer than `SHUTDOWN_TIMEOUT`.
    #[error("requests were still in flight after SHUTDOWN_TIMEOUT ({0:?}) and were cut off")]
    ShutdownTimedOut(Duration),
}

/// Serves `users` on `listener`, and probes and metrics on the `admin_port` if there is one, until `shutdown`
/// completes. Then it finishes the requests in flight and closes the pool. With an `authenticator`, requests for
/// orders need a token. A request received on an accepted connection is only cut off if it takes longer than
/// `SHUTDOWN_TIMEOUT`.
///
/// Raises the process's limit of open files to the number that the settings need.
///
/// Dropping the future closes the listener; the requests in flight continue in the runtime.
///
/// # Errors
///
/// Returns [`ServeError`] if the listener has no address, or if requests take longer than
/// `SHUTDOWN_TIMEOUT`. Those continue until the runtime ends.
pub async fn run(
    listener: TcpListener,
    admin_port: Option<AdminPort>,
    users: UserDirectory,
    settings: &ServeSettings,
    authenticator: Option<Authenticator>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let pool = usize::try_from(settings.pool.database_max_connections).unwrap_or(usize::MAX);
    let admin_clients = admin_port
        .as_ref()
        .map_or(0, |_| MAX_ADMIN_CLIENTS + MAX_REJECTED_CLIENTS);
    let max_clients = open_files::raise_limit(
        settings.max_client_connections,
        pool.saturating_add(MAX_REJECTED_CLIENTS + admin_clients),
    );
    tracing::info!("listening on http://{}", listener.local_addr()?);
    if let Some(port) = &admin_port {
        let address = port.listener.local_addr()?;
        tracing::info!("serving probes and metrics on http://{address}");
    }
    let (phase, phases) = watch::channel(Phase::Serving);
    let activity = Arc::<Activity>::default();
    let drain_timeout = DRAIN_TIMEOUT.min(settings.shutdown_timeout / 4);
    let open = TaskTracker::new();
    let lifecycle = Lifecycle {
        phase: phases,
        drain_timeout,
        connections: open.clone(),
        activity: Arc::clone(&activity),
    };
    let metrics = Metrics::new(users.clone(), &settings.metrics);
    let has_probes = admin_port.is_none();
    let admin_authenticator = authenticator.clone();
    let router = http::router(
        users.clone(),
        metrics.clone(),
        &settings.request,
        authenticator,
        &settings.cors,
        has_probes,
    );
    let mut directories = vec![users];
    directories.extend(admin_port.as_ref().map(|port| port.users.clone()));
    // Until the end of the shutdown.
    let _admin_tasks =
        admin_port.map(|port| port.serve(settings, &metrics, admin_authenticator, lifecycle.phase.clone()));
    let overloaded_router = http::overloaded_router(&settings.cors, has_probes);
    let mut connections = Connections::new(
        lifecycle,
        router,
        overloaded_router,
        max_clients,
        settings.client_idle_timeout,
        metrics,
    );
    tokio::select! {
        () = connections.accept_all(&listener) => {}
        () = shutdown => {}
    }

    let deadline = Instant::now() + settings.shutdown_timeout;
    tracing::info!("stopping: finishing the requests in flight");
    phase.send_replace(Phase::Draining);
    open.close(); // lets `wait` return once no connection is open
    tokio::select! {
        () = connections.accept_all(&listener) => {}
        () = open.wait() => {}
        () = tokio::time::sleep(drain_timeout) => {}
    }
    if let Err(error) = connections.accept_queued(listener) {
        tracing::warn!(%error, "failed to accept the queued connections");
    }
    phase.send_replace(Phase::Closing);
    let finished = async {
        tokio::select! {
            () = open.wait() => {}
            () = activity.wait_until_quiet(QUIET_TIMEOUT) => {}
        }
    };
    tokio::time::timeout_at(deadline, finished)
        .await
        .map_err(|_| ServeError::ShutdownTimedOut(settings.shutdown_timeout))?;
    let closed = async {
        for users in directories {
            users.database().close().await;
        }
    };
    if tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err() {
        tracing::warn!("some database connections were still busy after {CLOSE_TIMEOUT:?}");
    }
    tracing::info!("stopped");
    Ok(())
}
