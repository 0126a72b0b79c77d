//! The service's life: serve until asked to stop, finish what is under way, close the pool.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

use crate::config::ServeSettings;
use crate::http;
use crate::tenancy::Database;

/// So many signals end the process at once.
const IMPATIENT: u32 = 3;
/// Connections that were at work when the requests ended have this long to come back.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why serving ended in a way it should not.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener has no address, or accepting failed for good.
    #[error("the listener failed")]
    Listener(#[from] io::Error),
    /// Requests were still under way when the time for stopping was over.
    #[error("requests were still under way after {0:?}: they were cut off")]
    StopTimedOut(Duration),
}

/// Serves `database` on `listener` until `shutdown` is done, then finishes the requests under way
/// and closes the pool. Dropping the future cuts off whatever is under way.
///
/// # Errors
///
/// [`ServeError`] where the listener fails or requests outlast the time for stopping.
pub async fn run(
    listener: TcpListener,
    database: Database,
    settings: &ServeSettings,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    tracing::info!("listening on http://{}", listener.local_addr()?);
    let router = http::router(database.clone(), &settings.request);
    let stopping = Arc::new(Notify::new());
    let stop_began = Arc::clone(&stopping);
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
        shutdown.await;
        tracing::info!("stopping: finishing the requests under way");
        stop_began.notify_one();
    });
    let deadline = async {
        stopping.notified().await;
        tokio::time::sleep(settings.shutdown_timeout).await;
    };
    tokio::select! {
        served = serving => served?,
        () = deadline => return Err(ServeError::StopTimedOut(settings.shutdown_timeout)),
    }
    if tokio::time::timeout(CLOSE_TIMEOUT, database.close())
        .await
        .is_err()
    {
        tracing::warn!("not every database connection came back in time");
    }
    tracing::info!("stopped");
    Ok(())
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
