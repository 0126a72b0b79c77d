//! The signals that ask the process to stop.

#[cfg(unix)]
use std::future::poll_fn;
use std::io;
#[cfg(unix)]
use std::task::Poll;
use std::thread;

use tokio::sync::watch;

/// Number of signals after which the process exits immediately.
const FORCE_EXIT_AFTER: u32 = 3;

/// Counts Ctrl-C and, on Unix, SIGTERM and SIGHUP. From this call on a signal no longer ends the process, except
/// that the third one does so immediately. The signals have their own thread, so that the third one ends the
/// process also if all other threads are blocked.
///
/// # Errors
///
/// Returns an error if the signal handlers cannot be installed.
pub fn stop_signals() -> io::Result<StopSignals> {
    let (count, received) = watch::channel(0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let mut signals = {
        let _context = runtime.enter();
        Signals::new()?
    };
    let count_signals = async move {
        loop {
            signals.next().await;
            count.send_modify(|count| *count += 1);
            if *count.borrow() >= FORCE_EXIT_AFTER {
                std::process::exit(1);
            }
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(count_signals))?;
    Ok(StopSignals(received))
}

/// The number of signals received so far.
#[derive(Clone)]
pub struct StopSignals(watch::Receiver<u32>);

impl StopSignals {
    /// Waits until at least `count` signals have been received.
    pub async fn wait_for(mut self, count: u32) {
        // The sender lives as long as the process, so there is no error.
        let _ = self.0.wait_for(|received| *received >= count).await;
    }
}

#[cfg(unix)]
struct Signals(Vec<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
        if !is_hangup_ignored() {
            kinds.push(SignalKind::hangup());
        }
        Ok(Self(kinds.into_iter().map(signal).collect::<io::Result<_>>()?))
    }

    async fn next(&mut self) {
        poll_fn(|context| {
            let mut signals = self.0.iter_mut();
            if signals.any(|signal| signal.poll_recv(context).is_ready()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

/// Returns whether the process was started with SIGHUP ignored, as by `nohup`. Only Linux shows that.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let ignored = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 != 0) // bit 0 is signal 1, SIGHUP
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
