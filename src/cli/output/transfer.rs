//! Progress of transfers, and the result of export and import.

use std::convert::Infallible;
use std::io::{IsTerminal, stdout};
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use tokio::io::{AsyncRead, AsyncWrite};

use super::eprint_line;
use crate::admin::archive::ArchiveContents;
use crate::cli::report::{count, escape};

/// Interval between two lines of progress if stderr is not a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Returns standard output for binary data, or `None` if it is a terminal.
pub(in crate::cli) fn standard_output() -> Option<Box<dyn AsyncWrite + Unpin + Send>> {
    if stdout().is_terminal() {
        return None;
    }
    Some(Box::new(tokio::io::stdout()))
}

/// Counts transferred bytes, and prints them as a bar on a terminal and as lines elsewhere.
pub(in crate::cli) struct TransferProgress(ProgressBar);

impl TransferProgress {
    /// Creates the output of a transfer of `length` bytes, if known.
    pub(in crate::cli) fn new(what: &'static str, length: Option<u64>) -> Self {
        let (bar, template) = match length {
            Some(length) => (
                ProgressBar::new(length),
                "{bar:40} {bytes}/{total_bytes} {msg}, {eta} left",
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

    pub(in crate::cli) fn wrap_writer<W: AsyncWrite + Unpin + Send>(
        &self,
        writer: W,
    ) -> impl AsyncWrite + Unpin + Send + use<W> {
        self.0.wrap_async_write(writer)
    }

    pub(in crate::cli) fn wrap_reader<R: AsyncRead + Unpin + Send>(
        &self,
        reader: R,
    ) -> impl AsyncRead + Unpin + Send + use<R> {
        self.0.wrap_async_read(reader)
    }

    /// Sets the progress of a transfer that the server runs.
    pub(in crate::cli) fn update(&self, bytes: i64, length: i64) {
        self.0.set_length(length.try_into().unwrap_or_default());
        self.0.set_position(bytes.try_into().unwrap_or_default());
    }

    /// Runs `work`, and prints the progress meanwhile.
    pub(in crate::cli) async fn show_during<T>(&self, work: impl Future<Output = T>) -> T {
        let done = tokio::select! {
            done = work => done,
            never = self.print_lines() => match never {},
        };
        self.0.finish_and_clear();
        done
    }

    async fn print_lines(&self) -> Infallible {
        loop {
            tokio::time::sleep(LINE_INTERVAL).await;
            if self.0.is_hidden() && self.0.length() != Some(0) {
                let (bytes, what) = (HumanBytes(self.0.position()), self.0.message());
                match self.0.length() {
                    Some(length) => eprint_line(format_args!("{bytes} of {} {what}", HumanBytes(length))),
                    None => eprint_line(format_args!("{bytes} {what}")),
                }
            }
        }
    }
}

/// Prints the contents of an archive, with a warning for each object or grant that is left out.
pub(in crate::cli) fn print_contents(verb: &str, contents: &ArchiveContents) {
    for part in &contents.left_out {
        eprint_line(format_args!("warning: left out: {}", escape(part)));
    }
    let version = match contents.version {
        Some(version) => format!("at version {version}"),
        None => "without a migration history".to_owned(),
    };
    let mut counts = vec![count(contents.users, "user")];
    for (table, rows) in &contents.tables {
        counts.push(format!("{} in {}", count(rows, "row"), escape(table)));
    }
    eprint_line(format_args!(
        "{verb} {} {version}: {} ({})",
        escape(&contents.tenant),
        counts.join(", "),
        count(contents.bytes, "byte"),
    ));
}
