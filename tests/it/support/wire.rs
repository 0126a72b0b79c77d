//! A proxy that counts the messages from the service to PostgreSQL.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// A TCP address in front of a PostgreSQL socket.
pub(crate) struct CountingProxy {
    address: String,
    requests: Arc<AtomicUsize>,
}

impl CountingProxy {
    /// Starts a proxy at `listen` for the server whose socket is `socket`.
    pub(crate) async fn start(listen: &str, socket: &Path) -> Self {
        let listener = TcpListener::bind(listen).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(AtomicUsize::new(0));
        let (socket, count) = (socket.to_owned(), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, socket.clone(), Arc::clone(&count)));
            }
        });
        Self { address, requests }
    }

    /// The URL of `database` through the proxy, without TLS: encrypted messages could not be counted.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}?sslmode=disable", self.address)
    }

    /// The number of messages since the last call that PostgreSQL has to answer before the next one: simple
    /// queries, and the end of each extended query.
    pub(crate) fn take_requests(&self) -> usize {
        self.requests.swap(0, Ordering::SeqCst)
    }
}

async fn forward(client: TcpStream, socket: PathBuf, requests: Arc<AtomicUsize>) {
    let Ok(server) = UnixStream::connect(socket).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::select! {
        _ = copy(&mut from_server, &mut to_client) => {}
        _ = async {
            // The start-up message has no type.
            let length = from_client.read_u32().await?;
            let mut message = length.to_be_bytes().to_vec();
            loop {
                let start = message.len();
                let length = u32::from_be_bytes(message[start - 4..].try_into().unwrap());
                message.resize(start + length as usize - 4, 0);
                from_client.read_exact(&mut message[start..]).await?;
                requests.fetch_add(usize::from(matches!(message[0], b'Q' | b'S')), Ordering::SeqCst);
                to_server.write_all(&message).await?;
                message = vec![0; 5];
                from_client.read_exact(&mut message).await?;
            }
            #[expect(unreachable_code, reason = "names the error type")]
            Ok::<(), std::io::Error>(())
        } => {}
    }
}
