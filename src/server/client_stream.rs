//! A client's stream, and whether the client takes what is written to it.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Sleep;
use tokio_io_timeout::TimeoutStream;

/// A client that takes nothing of its answer for so long is given up. Else it could keep the answer
/// in memory, and its connection, for ever.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A client that is still sending when the service has closed its side is listened to for so long.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// Fails with [`io::ErrorKind::TimedOut`] where the client takes nothing of an answer for
/// [`STALL_TIMEOUT`]. Tells `progress` when a client that was slow to take it takes some of it.
///
/// To close a stream on which there is something unread resets it, and the client may then lose the
/// answer, such as that its request is too large. So what is still coming in is read and thrown away
/// first.
pub(super) struct ClientStream {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    is_blocked: bool,
    progress: watch::Sender<usize>,
    lingering: Option<Pin<Box<Sleep>>>,
    is_shut_down: bool,
}

impl ClientStream {
    pub(super) fn new(stream: TcpStream, progress: watch::Sender<usize>) -> Self {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(STALL_TIMEOUT));
        Self {
            stream: Box::pin(stream),
            is_blocked: false,
            progress,
            lingering: None,
            is_shut_down: false,
        }
    }

    /// Ready at once where nothing comes in, else when the client has closed its side too or
    /// [`LINGER_TIME`] is over.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut unread = [0; 4096];
        loop {
            if let Some(over) = &mut self.lingering
                && over.as_mut().poll(context).is_ready()
            {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut unread);
            match self.stream.as_mut().poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.lingering
                        .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER_TIME)));
                }
                Poll::Pending if self.lingering.is_some() => return Poll::Pending,
                _ => return Poll::Ready(()),
            }
        }
    }

    /// Notes whether the client took what was `written`.
    fn noted(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if self.is_blocked && written.is_ready() {
            // The count stays: who waits for it to change learns that something goes on.
            self.progress.send_modify(|_| ());
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
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.as_mut().poll_write_vectored(context, slices);
        self.noted(written)
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
