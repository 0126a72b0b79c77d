//! The service's life: serve until asked to stop, finish what is under way, close the pool.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::config::ServeSettings;
use crate::http;
use crate::tenancy::Database;

/// A connection on which no whole request head came in for so long is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// After a failure to accept, as when there are too many open files.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// A stop waits so long for the rest of a request whose head came in only in part.
const HALF_A_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// So many signals end the process at once.
const IMPATIENT: u32 = 3;
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

struct Connections {
    router: Router,
    graceful: GracefulShutdown,
}

impl Connections {
    async fn accept_all(&self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.serve(stream),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream) {
        // An answer is one write: to wait for more of it would only delay it.
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(
                TokioIo::new(stream),
                TowerToHyperService::new(self.router.clone()),
            );
        let connection = self.graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended badly");
            }
        });
    }
}

/// Counts the requests to stop: Ctrl-C, and SIGTERM where there is such a thing. From here on
/// neither ends the process by itself, but the third does, whatever the process is at.
///
/// # Errors
///
/// Where the operating system does not let signals be caught.
pub fn stop_signals() -> io::Result<StopSignals> {
    let (count, received) = watch::channel(0);
    let mut signals = Signals::new()?;
    tokio::spawn(async move {
        loop {
            signals.next().await;
            count.send_modify(|count| *count += 1);
            if *count.borrow() >= IMPATIENT {
                std::process::exit(1);
            }
        }
    });
    Ok(StopSignals(received))
}

/// The signals received so far.
#[derive(Clone)]
pub struct StopSignals(watch::Receiver<u32>);

impl StopSignals {
    /// Waits until `count` signals came in.
    pub async fn received(mut self, count: u32) {
        // The sender lives as long as the runtime: an error means that all is over anyway.
        let _ = self.0.wait_for(|received| *received >= count).await;
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
