//! Client connections: accepting them, and the limits of each one and of all together.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::client_stream::ClientStream;
use super::lifecycle::Lifecycle;
use crate::log_throttle::LogThrottle;
use crate::telemetry::Metrics;

/// Read buffer of a connection: the request line and the headers must fit.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Delay after a failed accept, for example because of too many open files.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Length of a listener's accept queue, as set by Tokio.
const MAX_QUEUED_CONNECTIONS: usize = 1024;
/// Maximum number of rejected clients that get a response at the same time. Further connections are closed
/// without one.
pub(super) const MAX_REJECTED_CLIENTS: usize = 256;
/// Maximum time for a rejected client to send its request and read the response.
const REJECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves at most a given number of clients at a time, and rejects further clients with `503 overloaded`.
pub(super) struct Connections {
    lifecycle: Lifecycle,
    router: Router,
    clients: Arc<Semaphore>,
    overloaded_router: Router,
    rejected_clients: Arc<Semaphore>,
    rejection_log: LogThrottle,
    invalid_request_log: Arc<LogThrottle>,
    /// Maximum idle time of a connection, and maximum time for a request head to arrive.
    idle_timeout: Duration,
    metrics: Metrics,
}

impl Connections {
    pub(super) fn new(
        lifecycle: Lifecycle,
        router: Router,
        overloaded_router: Router,
        max_clients: usize,
        idle_timeout: Duration,
        metrics: Metrics,
    ) -> Self {
        Self {
            lifecycle,
            router,
            clients: Arc::new(Semaphore::new(max_clients.min(Semaphore::MAX_PERMITS))),
            overloaded_router,
            rejected_clients: Arc::new(Semaphore::new(MAX_REJECTED_CLIENTS)),
            rejection_log: LogThrottle::default(),
            invalid_request_log: Arc::default(),
            idle_timeout,
            metrics,
        }
    }

    /// Accepts and serves connections; never returns. Cancelling it loses no connection.
    pub(super) async fn accept_all(&mut self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.serve(stream),
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
                }
            }
        }
    }

    /// Serves the connections in the accept queue and closes the listener. It polls the operating system
    /// directly, because Tokio may not have been notified of the newest connections yet.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error if an accept fails.
    pub(super) fn accept_queued(&mut self, listener: TcpListener) -> io::Result<()> {
        let listener = listener.into_std()?;
        for _ in 0..MAX_QUEUED_CONNECTIONS {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    self.serve(TcpStream::from_std(stream)?);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn serve(&mut self, stream: TcpStream) {
        // A response is one write, which Nagle's algorithm would only delay.
        let _ = stream.set_nodelay(true);
        if let Ok(permit) = Arc::clone(&self.clients).try_acquire_owned() {
            self.serve_client(stream, permit);
        } else {
            self.metrics.count_rejected_client();
            if let Some(rejected) = self.rejection_log.hit() {
                tracing::warn!(rejected, "rejected clients beyond MAX_CLIENT_CONNECTIONS");
            }
            if let Ok(permit) = Arc::clone(&self.rejected_clients).try_acquire_owned() {
                self.reject_client(stream, permit);
            }
        }
    }

    fn serve_client(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        let router = TowerToHyperService::new(self.router.clone());
        let lifecycle = self.lifecycle.clone();
        let service = service_fn(move |request| lifecycle.clone().track_request(router.call(request)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.idle_timeout)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(
                TokioIo::new(ClientStream::new(stream, Arc::clone(&self.lifecycle.activity))),
                service,
            );
        let closing = self.lifecycle.clone().wait_until_closing();
        let (metrics, log) = (self.metrics.clone(), Arc::clone(&self.invalid_request_log));
        self.lifecycle.connections.spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                // In this order, so that a request which arrived before the shutdown is read before it.
                biased;
                ended = connection.as_mut() => ended,
                () = closing => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                record_error(&error, &metrics, &log);
            }
            drop(permit);
        });
    }

    fn reject_client(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        let connection = http1::Builder::new()
            .keep_alive(false)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(
                TokioIo::new(ClientStream::new(stream, Arc::clone(&self.lifecycle.activity))),
                TowerToHyperService::new(self.overloaded_router.clone()),
            );
        self.lifecycle.connections.spawn(async move {
            // A timeout and an error both mean that the client did not read the response.
            let _ = tokio::time::timeout(REJECTION_TIMEOUT, connection).await;
            drop(permit);
        });
    }
}

/// Logs the error of a connection. Counts the requests that hyper refuses by itself, so that no handler sees them.
fn record_error(error: &hyper::Error, metrics: &Metrics, log: &LogThrottle) {
    if !error.is_parse() {
        tracing::debug!(%error, "a client connection failed");
        return;
    }
    metrics.count_invalid_request(error.is_parse_too_large());
    if let Some(rejected) = log.hit() {
        tracing::info!(rejected, %error, "rejected requests that are not valid HTTP or have too large a head");
    }
}
