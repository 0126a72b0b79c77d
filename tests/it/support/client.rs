//! A client, for the service as a process.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;

use super::Answer;

/// Asks for `url`, on a connection of its own.
pub(crate) async fn get(url: String) -> Result<Answer, Error> {
    send(Request::get(url).body(Body::empty()).unwrap()).await
}

pub(crate) async fn send(request: Request<Body>) -> Result<Answer, Error> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let (parts, body) = client.request(request).await?.into_parts();
    let body = to_bytes(Body::new(body), usize::MAX).await.unwrap();
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.to_vec(),
    })
}
