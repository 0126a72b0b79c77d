//! The clients' connections: accepting them, and what one of them may take.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

/// A connection on which no whole request head came in for so long is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// After a failure to accept, as when there are too many open files.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

pub(super) struct Connections {
    pub(super) router: Router,
    pub(super) graceful: GracefulShutdown,
}

impl Connections {
    pub(super) async fn accept_all(&self, listener: &TcpListener) {
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

    pub(super) fn serve(&self, stream: TcpStream) {
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
