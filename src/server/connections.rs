//! The clients' connections: accepting them, and what they may take, one by one and together.

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
use super::{Counted, Life};
use crate::log_throttle::LogThrottle;
use crate::telemetry::Metrics;

/// A connection on which no whole request head came in for so long is closed. So is one that is
/// idle: longer than the 60 s for which a proxy usually keeps one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Bytes of a request that are held at once, so that no client can make the service hold more: its
/// line and its headers must fit.
const MAX_HEAD: usize = 16 * 1024;
/// After a failure to accept, as when there are too many open files.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// The length of the queue that Tokio gives a listener.
const ACCEPT_QUEUE: usize = 1024;
/// So many clients are turned away at once with an answer. What comes on top is just closed.
pub(super) const MAX_TURNED_AWAY: usize = 256;
/// A client that is turned away has so long for its request and for taking its answer.
const TURNED_AWAY_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves those who connect, up to a number at once; answers the others that it is one too many.
pub(super) struct Connections {
    life: Life,
    router: Router,
    clients: Arc<Semaphore>,
    turned_away_router: Router,
    turned_away: Arc<Semaphore>,
    tally: LogThrottle,
    metrics: Metrics,
}

impl Connections {
    pub(super) fn new(
        life: Life,
        router: Router,
        turned_away_router: Router,
        max_clients: usize,
        metrics: Metrics,
    ) -> Self {
        Self {
            life,
            router,
            clients: Arc::new(Semaphore::new(max_clients.min(Semaphore::MAX_PERMITS))),
            turned_away_router,
            turned_away: Arc::new(Semaphore::new(MAX_TURNED_AWAY)),
            tally: LogThrottle::default(),
            metrics,
        }
    }

    /// Never ends. Cancelling it loses no connection.
    pub(super) async fn accept_all(&mut self, listener: &TcpListener) {
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

    /// Serves who is in the queue already, and closes it. The operating system itself is asked:
    /// Tokio may not have heard yet of who came last.
    ///
    /// # Errors
    ///
    /// Where the operating system fails to accept.
    pub(super) fn accept_last(&mut self, listener: TcpListener) -> io::Result<()> {
        let listener = listener.into_std()?;
        for _ in 0..ACCEPT_QUEUE {
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
        // An answer is one write: to wait for more of it would only delay it.
        let _ = stream.set_nodelay(true);
        if let Ok(permit) = Arc::clone(&self.clients).try_acquire_owned() {
            self.serve_client(stream, permit);
        } else {
            self.metrics.client_turned_away();
            if let Some(turned_away) = self.tally.hit() {
                tracing::warn!(
                    turned_away,
                    "more clients than MAX_CLIENT_CONNECTIONS: some are turned away"
                );
            }
            if let Ok(permit) = Arc::clone(&self.turned_away).try_acquire_owned() {
                self.turn_away(stream, permit);
            }
        }
    }

    fn serve_client(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        let router = TowerToHyperService::new(self.router.clone());
        let life = self.life.clone();
        let service = service_fn(move |request| life.clone().counted(router.call(request)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(
                TokioIo::new(ClientStream::new(stream, self.life.requests.clone())),
                service,
            );
        let open = Counted::new(&self.life.connections);
        let closing = self.life.clone().closing();
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                // In this order, so that a request that came in before the end is seen before it.
                biased;
                ended = connection.as_mut() => ended,
                () = closing => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended badly");
            }
            drop((permit, open));
        });
    }

    fn turn_away(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        let connection = http1::Builder::new()
            .keep_alive(false)
            .max_buf_size(MAX_HEAD)
            .serve_connection(
                TokioIo::new(ClientStream::new(stream, self.life.requests.clone())),
                TowerToHyperService::new(self.turned_away_router.clone()),
            );
        let open = Counted::new(&self.life.connections);
        tokio::spawn(async move {
            // It is all the same here whether its time is over or the client went.
            let _ = tokio::time::timeout(TURNED_AWAY_TIMEOUT, connection).await;
            drop((permit, open));
        });
    }
}
