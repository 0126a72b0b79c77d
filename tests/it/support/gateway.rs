//! What may stand between the service and PostgreSQL: an address that fails over, slows down, goes dark.

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// What happens to connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// They reach the server whose socket is in this folder, and each message takes this much longer.
    To(PathBuf, Duration),
    /// They are closed, as by a host whose server is down.
    Nowhere,
    /// They stay open and nothing comes through, as with a host that vanished.
    Dark,
}

/// A TCP address whose route can be changed. A change cuts the connections of the route before, but not
/// one to the dark: what is carried then is lost, until another change cuts it.
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
