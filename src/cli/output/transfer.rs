//! How far an archive has come, and what it held.

use std::convert::Infallible;
use std::io::{IsTerminal, stdout};
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use tokio::io::{AsyncRead, AsyncWrite};

use super::tell;
use crate::admin::archive::Contents;
use crate::cli::report::escape;

/// Between two lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(10);

/// Standard output, to be written to by bytes; none where it is a terminal.
pub(in crate::cli) fn standard_output() -> Option<impl AsyncWrite + Unpin + Send> {
    (!stdout().is_terminal()).then(tokio::io::stdout)
}

/// How many bytes have gone by: a bar on a terminal, a line now and then elsewhere.
pub(in crate::cli) struct Transfer(ProgressBar);

impl Transfer {
    /// Of `length` bytes, where that is known.
    pub(in crate::cli) fn new(what: &'static str, length: Option<u64>) -> Self {
        let (bar, template) = match length {
            Some(length) => (
                ProgressBar::new(length),
                "{bar:40} {bytes}/{total_bytes} {msg}, {eta} to go",
            ),
            None => (
                ProgressBar::new_spinner(),
                "{spinner} {bytes} {msg}, {bytes_per_sec}",
            ),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self(bar)
    }

    pub(in crate::cli) fn to<W: AsyncWrite + Unpin + Send>(
        &self,
        writer: W,
    ) -> impl AsyncWrite + Unpin + Send + use<W> {
        self.0.wrap_async_write(writer)
    }

    pub(in crate::cli) fn from<R: AsyncRead + Unpin + Send>(
        &self,
        reader: R,
    ) -> impl AsyncRead + Unpin + Send + use<R> {
        self.0.wrap_async_read(reader)
    }

    /// Does `work`, and tells meanwhile how far it is.
    pub(in crate::cli) async fn during<T>(self, work: impl Future<Output = T>) -> T {
        let done = tokio::select! {
            done = work => done,
            never = self.lines() => match never {},
        };
        self.0.finish_and_clear();
        done
    }

    async fn lines(&self) -> Infallible {
        loop {
            tokio::time::sleep(PAUSE).await;
            if self.0.is_hidden() {
                let (bytes, what) = (HumanBytes(self.0.position()), self.0.message());
                match self.0.length() {
                    Some(length) => tell(format_args!("{bytes} of {} {what}", HumanBytes(length))),
                    None => tell(format_args!("{bytes} {what}")),
                }
            }
        }
    }
}

/// Tells what an archive holds, and what it does not hold.
pub(in crate::cli) fn transferred(what: &str, contents: &Contents) {
    for part in &contents.left_out {
        tell(format_args!("warning: left out: {}", escape(part)));
    }
    let version = match contents.version {
        Some(version) => format!("at version {version}"),
        None => "without a migration history".to_owned(),
    };
    let mut counts = vec![counted(contents.users, "user")];
    for (table, rows) in &contents.tables {
        counts.push(format!("{} in {}", counted(*rows, "row"), escape(table)));
    }
    tell(format_args!(
        "{what} {} {version}: {} ({})",
        escape(&contents.tenant),
        counts.join(", "),
        counted(contents.bytes, "byte"),
    ));
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
