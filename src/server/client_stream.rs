//! A client's stream, with a limit on stalled writes.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_io_timeout::TimeoutStream;

use super::lifecycle::Activity;

/// Maximum time for which a client may read nothing of its response. It bounds how long a response stays
/// in memory and a connection stays open.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum time for which the service reads from a client after closing its own side.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// A stream that fails with [`io::ErrorKind::TimedOut`] if the client reads nothing of a response for
/// [`STALL_TIMEOUT`]. It records in `activity` when a stalled client reads again.
///
/// Closing a socket that has unread input resets the connection, and the client can lose the response,
/// such as the one that its request is too large. The stream therefore reads and discards the remaining
/// input before it closes.
pub(super) struct ClientStream {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    is_blocked: bool,
    activity: Arc<Activity>,
    linger_timeout: Option<Pin<Box<Sleep>>>,
    is_shut_down: bool,
}

impl ClientStream {
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(STALL_TIMEOUT));
        Self {
            stream: Box::pin(stream),
            is_blocked: false,
            activity,
            linger_timeout: None,
            is_shut_down: false,
        }
    }

    /// Returns ready at once if there is no input; otherwise once the client has closed its side or
    /// [`LINGER_TIMEOUT`] has passed.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut unread = [0; 4096];
        loop {
            if let Some(timeout) = &mut self.linger_timeout
                && timeout.as_mut().poll(context).is_ready()
            {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut unread);
            match self.stream.as_mut().poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.linger_timeout
                        .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER_TIMEOUT)));
                }
                Poll::Pending if self.linger_timeout.is_some() => return Poll::Pending,
                _ => return Poll::Ready(()),
            }
        }
    }

    /// Records if the client accepted the data, and passes `written` on.
    fn record_progress(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if self.is_blocked && written.is_ready() {
            self.activity.record_progress();
        }
        self.is_blocked = written.is_pending();
        written
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.as_mut().poll_write(context, bytes);
        self.record_progress(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.as_mut().poll_write_vectored(context, slices);
        self.record_progress(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut_down {
            ready!(self.stream.as_mut().poll_shutdown(context))?;
            self.is_shut_down = true;
        }
        self.poll_linger(context).map(Ok)
    }
}
