//! A bounded queue between the log and stderr. A reader of stderr that stalls costs log lines, not requests.

use std::io::{self, Write};
use std::iter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Maximum number of queued lines; some megabytes.
const MAX_QUEUED_LINES: usize = 16 * 1024;
/// Shortest time between two writes.
const WRITE_INTERVAL: Duration = Duration::from_millis(10);
/// Length from which lines are written without waiting for more.
const MAX_WRITE_BYTES: usize = 64 * 1024;
/// Maximum wait for the queued lines at the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Delay between two attempts to add to a full queue at the end of the process.
const FLUSH_RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// Lines dropped by the process's log.
static DROPPED_LINES: AtomicU64 = AtomicU64::new(0);

/// Returns the number of log lines that were dropped because the queue was full.
pub(super) fn dropped_lines() -> u64 {
    DROPPED_LINES.load(Ordering::Relaxed)
}

enum Message {
    Line(Vec<u8>),
    /// Requests a reply once all earlier lines are written.
    Flush(SyncSender<()>),
}

/// A queue of log lines that its own thread writes to stderr. Each write is one line. Clones share the queue.
#[derive(Clone)]
pub(crate) struct LogQueue(SyncSender<Message>);

impl LogQueue {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, messages) = sync_channel(MAX_QUEUED_LINES);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&messages))?;
        Ok(Self(sender))
    }

    /// Waits until the queued lines are written, for at most `FLUSH_TIMEOUT`.
    pub(crate) fn flush(&self) {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        let (done, written) = sync_channel(1);
        let mut request = Message::Flush(done);
        while let Err(TrySendError::Full(again)) = self.0.try_send(request) {
            if Instant::now() >= deadline {
                return;
            }
            request = again;
            std::thread::sleep(FLUSH_RETRY_INTERVAL);
        }
        let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// Writes the lines to stderr, those of a short interval together: waking this thread and writing cost more than the
/// line itself. Write errors, such as a closed pipe, are ignored.
fn write_all(messages: &Receiver<Message>) {
    let mut lines = Vec::new();
    while let Ok(first) = messages.recv() {
        for message in iter::once(first).chain(messages.try_iter()) {
            match message {
                Message::Line(line) => lines.extend(line),
                Message::Flush(done) => {
                    write(&mut lines);
                    let _ = done.send(());
                }
            }
            if lines.len() >= MAX_WRITE_BYTES {
                write(&mut lines);
            }
        }
        write(&mut lines);
        std::thread::sleep(WRITE_INTERVAL);
    }
}

fn write(lines: &mut Vec<u8>) {
    let _ = io::stderr().write_all(lines);
    lines.clear();
}

impl Write for &LogQueue {
    /// Adds a line, or drops and counts it if the queue is full.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.try_send(Message::Line(line.to_vec())).is_err() {
            DROPPED_LINES.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'q> MakeWriter<'q> for LogQueue {
    type Writer = &'q Self;

    fn make_writer(&'q self) -> Self::Writer {
        self
    }
}
