//! A web server that publishes a key set.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;

use super::signer::Signer;
use crate::support::wait_until;

/// A server with one response for all requests.
pub(super) struct Issuer {
    base: String,
    /// `None`: requests get no response until there is one.
    response: watch::Sender<Option<String>>,
    fetches: Arc<AtomicUsize>,
}

impl Issuer {
    /// Publishes the keys with these ids over http.
    pub(super) async fn publishing(keys: &[(&str, &Signer)]) -> Self {
        let issuer = Self::start(None).await;
        issuer.publish(keys);
        issuer
    }

    /// Publishes the keys over https, with the certificate `keys/localhost.pem`.
    pub(super) async fn with_tls(keys: &[(&str, &Signer)]) -> Self {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("keys/localhost.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("keys/rsa.pem")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let issuer = Self::start(Some(TlsAcceptor::from(Arc::new(config)))).await;
        issuer.publish(keys);
        issuer
    }

    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let issuer = Self {
            base: format!("{scheme}://{}", listener.local_addr().unwrap()),
            response: watch::Sender::new(None),
            fetches: Arc::default(),
        };
        let (response, fetches) = (issuer.response.clone(), Arc::clone(&issuer.fetches));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (tls, response, fetches) = (tls.clone(), response.subscribe(), Arc::clone(&fetches));
                tokio::spawn(async move {
                    match tls {
                        None => respond(client, response, fetches).await,
                        Some(tls) => {
                            if let Ok(client) = tls.accept(client).await {
                                respond(client, response, fetches).await;
                            }
                        }
                    }
                });
            }
        });
        issuer
    }

    pub(super) fn url(&self) -> String {
        format!("{}/jwks.json", self.base)
    }

    pub(super) fn publish(&self, keys: &[(&str, &Signer)]) {
        let keys: Vec<_> = keys.iter().map(|(id, signer)| signer.jwk(id)).collect();
        self.respond_with("200 OK", "x: x", &json!({ "keys": keys }).to_string());
    }

    /// Sends a response with this status, header and body from now on.
    pub(super) fn respond_with(&self, status: &str, header: &str, body: &str) {
        let length = body.len();
        let response = format!(
            "HTTP/1.1 {status}\r\n{header}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        self.response.send_replace(Some(response));
    }

    /// Leaves requests without a response from now on.
    pub(super) fn fall_silent(&self) {
        self.response.send_replace(None);
    }

    pub(super) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    /// Waits for the fetch with this number.
    pub(super) async fn is_fetched(&self, number: usize) {
        wait_until("the service fetches the keys", async || self.fetches() >= number).await;
    }
}

async fn respond(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    mut response: watch::Receiver<Option<String>>,
    fetches: Arc<AtomicUsize>,
) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if client.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    fetches.fetch_add(1, Ordering::SeqCst);
    let Ok(response) = response
        .wait_for(Option::is_some)
        .await
        .map(|response| response.clone())
    else {
        return;
    };
    let _ = client.write_all(response.unwrap_or_default().as_bytes()).await;
    let _ = client.shutdown().await;
}
