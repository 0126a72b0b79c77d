//! `healthcheck`: queries a probe of the running service.

use std::io;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::CommandError;
use crate::config::ListenSettings;

/// Maximum time for the whole query. `/readyz` can take `ACQUIRE_TIMEOUT`.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of the response.
const MAX_RESPONSE_BYTES: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct HealthcheckArguments {
    /// Query /readyz, which needs the database, instead of /livez
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    listen: ListenSettings,
}

/// Fails unless the probe of the running service responds with status 200.
pub(super) async fn healthcheck(arguments: &HealthcheckArguments) -> Result<(), CommandError> {
    let path = if arguments.ready { "/readyz" } else { "/livez" };
    let (host, port) = arguments.listen.probe_address();
    let queried = tokio::time::timeout(QUERY_TIMEOUT, query(host, port, path)).await;
    let status_line = queried.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let url = || format!("http://{host}:{port}{path}");
    match status_line {
        Ok(line) if line.split(' ').nth(1) == Some("200") => Ok(()),
        Ok(status_line) => Err(CommandError::Unhealthy {
            url: url(),
            status_line,
        }),
        Err(source) => Err(CommandError::Healthcheck { url: url(), source }),
    }
}

/// Sends a request and returns the first line of the response.
async fn query(host: &str, port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((host, port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    stream.take(MAX_RESPONSE_BYTES).read_to_end(&mut response).await?;
    let response = String::from_utf8_lossy(&response);
    Ok(response.lines().next().unwrap_or_default().to_owned())
}
