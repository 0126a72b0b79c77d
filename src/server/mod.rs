//! The service's life: serve until asked to stop, finish what is under way, close the pool.

mod client_stream;
mod connections;
mod open_files;
mod signals;

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::authentication::Authenticator;
use crate::config::ServeSettings;
use crate::http;
use crate::telemetry::Metrics;
use crate::tenancy::Database;
use connections::{Connections, MAX_TURNED_AWAY};
pub use signals::{StopSignals, stop_signals};

/// A stop goes on accepting and answering for so long, and asks each client to close its connection
/// after its answer. A connection that the service closes can cut off a request that is on its way;
/// one that the client closes cannot. Long enough for the next request of a client that sends one
/// after the other, short beside the time that a stop has.
const DRAIN_TIME: Duration = Duration::from_millis(500);
/// A stop waits so long for the rest of a request whose head came in only in part, and for a client
/// to take more of its answer.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// Connections that were at work when the requests ended have this long to come back.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why serving ended in a way it should not.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener has no address.
    #[error("the listener failed")]
    Listener(#[from] io::Error),
    /// Requests were still under way when the time for stopping was over.
    #[error("requests were still under way after {0:?}: they were cut off")]
    StopTimedOut(Duration),
}

/// Where the service is in its life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// All are served.
    Serving,
    /// All are served, and asked to leave.
    Draining,
    /// What is under way is finished, nothing new is taken on.
    Closing,
}

/// What the service is at.
#[derive(Clone)]
struct Life {
    phase: watch::Receiver<Phase>,
    /// [`DRAIN_TIME`], or less where a stop has less time.
    drain_time: Duration,
    /// Connections that are open.
    connections: watch::Sender<usize>,
    /// Requests under way. Also touched when a slow client takes more of an answer.
    requests: watch::Sender<usize>,
}

impl Life {
    /// Waits until a connection that was accepted now may be closed though it could bring a request:
    /// when nothing new is taken on, but not before it had the time for its first.
    async fn closing(mut self) {
        let accepted = Instant::now();
        // An error means that the service is gone, and the end with it.
        let _ = self.phase.wait_for(|phase| *phase == Phase::Closing).await;
        tokio::time::sleep_until(accepted + self.drain_time).await;
    }

    /// Counts a request while its `answer` is under way, also where its client hangs up, and asks the client
    /// to close the connection once the service is to stop.
    async fn counted<E>(self, answer: impl Future<Output = Result<Response, E>>) -> Result<Response, E> {
        let _counted = Counted::new(&self.requests);
        let mut response = answer.await?;
        if *self.phase.borrow() != Phase::Serving {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// Serves `database` on `listener`, to whom `authenticator` lets in, until `shutdown` is done, then finishes the requests under way
/// and closes the pool. No request that came in on an accepted connection is cut off, unless it
/// outlasts the time for stopping.
///
/// Raises the process's limit of open files to what the settings need.
///
/// Dropping it closes the listener and leaves the requests under way to the runtime.
///
/// # Errors
///
/// [`ServeError`] where the listener has no address or requests outlast the time for stopping. Those
/// go on until the runtime ends.
pub async fn run(
    listener: TcpListener,
    database: Database,
    settings: &ServeSettings,
    authenticator: Option<Authenticator>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let pool = usize::try_from(settings.pool.database_max_connections).unwrap_or(usize::MAX);
    let max_clients = open_files::room_for(
        settings.max_client_connections,
        pool.saturating_add(MAX_TURNED_AWAY),
    );
    tracing::info!("listening on http://{}", listener.local_addr()?);
    let (phase, phases) = watch::channel(Phase::Serving);
    let (connections, mut open) = watch::channel(0_usize);
    let (requests, mut under_way) = watch::channel(0_usize);
    let drain_time = DRAIN_TIME.min(settings.shutdown_timeout / 4);
    let life = Life {
        phase: phases,
        drain_time,
        connections,
        requests,
    };
    let metrics = Metrics::new(database.clone(), &settings.metrics);
    let router = http::router(
        database.clone(),
        metrics.clone(),
        &settings.request,
        authenticator,
        &settings.cors,
    );
    let turned_away = http::overloaded_router(&settings.cors);
    let mut connections = Connections::new(life, router, turned_away, max_clients, metrics);
    tokio::select! {
        () = connections.accept_all(&listener) => {}
        () = shutdown => {}
    }

    let deadline = Instant::now() + settings.shutdown_timeout;
    tracing::info!("stopping: finishing the requests under way");
    phase.send_replace(Phase::Draining);
    tokio::select! {
        () = connections.accept_all(&listener) => {}
        () = none(&mut open) => {}
        () = tokio::time::sleep(drain_time) => {}
    }
    if let Err(error) = connections.accept_last(listener) {
        tracing::warn!(%error, "cannot accept who came last");
    }
    phase.send_replace(Phase::Closing);
    let finished = async {
        tokio::select! {
            () = none(&mut open) => {}
            () = quiet(&mut under_way) => {}
        }
    };
    tokio::time::timeout_at(deadline, finished)
        .await
        .map_err(|_| ServeError::StopTimedOut(settings.shutdown_timeout))?;
    if tokio::time::timeout(CLOSE_TIMEOUT, database.close())
        .await
        .is_err()
    {
        tracing::warn!("not every database connection came back in time");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Waits until there are none.
async fn none(count: &mut watch::Receiver<usize>) {
    // An error means that nobody is left who could count.
    let _ = count.wait_for(|count| *count == 0).await;
}

/// Waits until no request is under way, none begins and no slow client takes more of an answer.
async fn quiet(requests: &mut watch::Receiver<usize>) {
    loop {
        none(requests).await;
        match tokio::time::timeout(QUIET_TIME, requests.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// One more, as long as it lives.
struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
