//! A TCP proxy between the service and PostgreSQL: it can fail over, delay messages and drop them.

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// Treatment of connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// Forwarded to the server with its socket in this folder, with this delay for each message.
    To(PathBuf, Duration),
    /// Closed, as by a host without a running server.
    Nowhere,
    /// Left open without forwarding, as by an unreachable host.
    Dark,
}

/// A TCP address with a changeable route. A change closes the connections of the previous route, except the
/// change to [`Route::Dark`]: then messages are lost, and the next change closes the connections.
pub(crate) struct Gateway {
    port: u16,
    route: watch::Sender<Route>,
}

impl Gateway {
    pub(crate) async fn start(route: Route) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (route, routes) = watch::channel(route);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, routes.clone()));
            }
        });
        Self { port, route }
    }

    pub(crate) fn set(&self, route: Route) {
        self.route.send_replace(route);
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

async fn forward(client: TcpStream, mut routes: watch::Receiver<Route>) {
    let Route::To(folder, delay) = routes.borrow_and_update().clone() else {
        return until_lit(&mut routes).await;
    };
    let Ok(server) = UnixStream::connect(folder.join(".s.PGSQL.5432")).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = carry(from_client, to_server, delay, routes.clone()) => {}
        () = carry(from_server, to_client, delay, routes.clone()) => {}
        () = async { let _ = routes.changed().await; until_lit(&mut routes).await } => {}
    }
}

async fn until_lit(routes: &mut watch::Receiver<Route>) {
    let _ = routes.wait_for(|route| *route != Route::Dark).await;
}

async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    delay: Duration,
    routes: watch::Receiver<Route>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        tokio::time::sleep(delay).await;
        if *routes.borrow() == Route::Dark {
            return std::future::pending().await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
