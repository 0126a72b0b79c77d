//! HTTP clients for the service as a process.

use std::io;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::Answer;
use super::wait::TIMEOUT;

/// Sends a GET request on a new connection.
pub(crate) async fn get(url: String) -> Result<Answer, Error> {
    send(Request::get(url).body(Body::empty()).unwrap()).await
}

/// Sends a request on a new connection.
pub(crate) async fn send(request: Request<Body>) -> Result<Answer, Error> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = async {
        let response = client.request(request).await?;
        Ok(Answer::read(response.map(Body::new)).await.unwrap())
    };
    tokio::time::timeout(TIMEOUT, response)
        .await
        .expect("the service responds")
}

/// A raw connection, which shows exactly the bytes that the service sends.
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(url: &str) -> io::Result<Self> {
        Self::of(TcpSocket::new_v4()?, url).await
    }

    /// Opens a connection with a small receive buffer.
    pub(crate) async fn narrow(url: &str) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(16 * 1024)?;
        Self::of(socket, url).await
    }

    async fn of(socket: TcpSocket, url: &str) -> io::Result<Self> {
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        Ok(Self {
            stream: socket.connect(address).await?,
            received: Vec::new(),
        })
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    /// Sends a GET request and reads the response.
    pub(crate) async fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
            .await?;
        self.answer().await
    }

    /// Reads one response. Returns an error if the connection ends before it is complete.
    pub(crate) async fn answer(&mut self) -> io::Result<Answer> {
        loop {
            if let Some(answer) = self.take_answer() {
                return Ok(answer);
            }
            if self.read().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads more input and returns the number of bytes.
    pub(crate) async fn read(&mut self) -> io::Result<usize> {
        let read = self.stream.read_buf(&mut self.received);
        tokio::time::timeout(TIMEOUT, read)
            .await
            .expect("the service sends something")
    }

    /// Reads until the connection ends.
    pub(crate) async fn end(&mut self) {
        while matches!(self.read().await, Ok(1..)) {}
    }

    /// Returns true if the service has closed the connection. There must be no unread input.
    pub(crate) fn has_ended(&self) -> bool {
        !matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Returns the number of received bytes that are not a complete response yet.
    pub(crate) fn received(&self) -> usize {
        self.received.len()
    }

    fn take_answer(&mut self) -> Option<Answer> {
        let end_of_head = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&self.received[..end_of_head]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let status: StatusCode = status.parse().unwrap();
        let headers: HeaderMap = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| {
                (
                    name.parse::<HeaderName>().unwrap(),
                    value.parse::<HeaderValue>().unwrap(),
                )
            })
            .collect();
        let length = headers
            .get("content-length")
            .map_or(0, |length| length.to_str().unwrap().parse::<usize>().unwrap());
        let body = end_of_head + 4..end_of_head + 4 + length;
        let answer = Answer {
            status,
            headers,
            body: self.received.get(body.clone())?.to_vec(),
        };
        self.received.drain(..body.end);
        Some(answer)
    }
}
