//! The service's life: serve until asked to stop, finish what is under way, close the pool.

mod connections;
mod signals;

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::ServeSettings;
use crate::http;
use crate::tenancy::Database;
use connections::Connections;
pub use signals::{StopSignals, stop_signals};

/// A stop waits so long for the rest of a request whose head came in only in part.
const HALF_A_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
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

/// Serves `database` on `listener` until `shutdown` is done, then finishes the requests under way
/// and closes the pool.
///
/// # Errors
///
/// [`ServeError`] where the listener has no address or requests outlast the time for stopping. Those
/// go on until the runtime ends.
pub async fn run(
    listener: TcpListener,
    database: Database,
    settings: &ServeSettings,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    tracing::info!("listening on http://{}", listener.local_addr()?);
    let (under_way, mut requests) = watch::channel(0_usize);
    let connections = Connections {
        router: http::router(database.clone(), &settings.request)
            .layer(from_fn_with_state(under_way, counted)),
        graceful: GracefulShutdown::new(),
    };
    tokio::select! {
        () = connections.accept_all(&listener) => {}
        () = shutdown => {}
    }
    tracing::info!("stopping: finishing the requests under way");
    // Who is in the queue already came before the stop.
    while let Ok(Ok((stream, _))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        connections.serve(stream);
    }
    drop(listener);
    let finished = async {
        tokio::select! {
            () = connections.graceful.shutdown() => {}
            () = no_requests(&mut requests) => {}
        }
    };
    tokio::time::timeout(settings.shutdown_timeout, finished)
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

/// Waits until there are no requests under way, and none begins any more.
async fn no_requests(requests: &mut watch::Receiver<usize>) {
    loop {
        if requests.wait_for(|count| *count == 0).await.is_err() {
            return;
        }
        tokio::time::sleep(HALF_A_REQUEST_TIMEOUT).await;
        if *requests.borrow() == 0 {
            return;
        }
    }
}

/// Counts the request while it is under way, also where its client hangs up.
async fn counted(State(under_way): State<watch::Sender<usize>>, request: Request, next: Next) -> Response {
    under_way.send_modify(|count| *count += 1);
    let _counted = Counted(under_way);
    next.run(request).await
}

struct Counted(watch::Sender<usize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
