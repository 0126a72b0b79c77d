//! The signals that ask the process to stop.

use std::io;

use tokio::sync::watch;

/// Number of signals after which the process exits immediately.
const FORCE_EXIT_AFTER: u32 = 3;

/// Counts Ctrl-C and, on Unix, SIGTERM. From this call on a signal no longer ends the process, except
/// that the third one does so immediately.
///
/// # Errors
///
/// Returns an error if the signal handlers cannot be installed.
pub fn stop_signals() -> io::Result<StopSignals> {
    let (count, received) = watch::channel(0);
    let mut signals = Signals::new()?;
    tokio::spawn(async move {
        loop {
            signals.next().await;
            count.send_modify(|count| *count += 1);
            if *count.borrow() >= FORCE_EXIT_AFTER {
                std::process::exit(1);
            }
        }
    });
    Ok(StopSignals(received))
}

/// The number of signals received so far.
#[derive(Clone)]
pub struct StopSignals(watch::Receiver<u32>);

impl StopSignals {
    /// Waits until at least `count` signals have been received.
    pub async fn wait_for(mut self, count: u32) {
        // The sender lives as long as the runtime, so an error can only occur during its shutdown.
        let _ = self.0.wait_for(|received| *received >= count).await;
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
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
