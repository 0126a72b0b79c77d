//! The signals that ask the process to stop.

use std::io;

use tokio::sync::watch;

/// So many signals end the process at once.
const IMPATIENT: u32 = 3;

/// Counts the requests to stop: Ctrl-C, and SIGTERM where there is such a thing. From here on
/// neither ends the process by itself, but the third does, whatever the process is at.
///
/// # Errors
///
/// Where the operating system does not let signals be caught.
pub fn stop_signals() -> io::Result<StopSignals> {
    let (count, received) = watch::channel(0);
    let mut signals = Signals::new()?;
    tokio::spawn(async move {
        loop {
            signals.next().await;
            count.send_modify(|count| *count += 1);
            if *count.borrow() >= IMPATIENT {
                std::process::exit(1);
            }
        }
    });
    Ok(StopSignals(received))
}

/// The signals received so far.
#[derive(Clone)]
pub struct StopSignals(watch::Receiver<u32>);

impl StopSignals {
    /// Waits until `count` signals came in.
    pub async fn received(mut self, count: u32) {
        // The sender lives as long as the runtime: an error means that all is over anyway.
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
