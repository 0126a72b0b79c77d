//! All output of the commands. Data goes to stdout, everything else to stderr; the log is separate. A command
//! continues after a failed write, and fails at its end.

mod fleet;
mod outcome;
mod query;
mod transfer;

use std::fmt::Arguments;
use std::io::{self, StdoutLock, Write};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{CommandError, Failure};

pub(super) use fleet::FleetOutput;
pub(super) use outcome::OutcomeOutput;
pub(super) use query::QueryOutput;
pub(super) use transfer::{TransferProgress, print_contents, standard_output};

/// Maximum wait for stderr to accept the last message of the process.
const LAST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(1);

/// Prints an error message to stderr before the process ends. Gives up if stderr is a full pipe, because the
/// process must end nevertheless.
pub fn print_error(message: &str) {
    let message = format!("error: {message}");
    let (done, printed) = sync_channel(1);
    std::thread::spawn(move || {
        eprint_line(format_args!("{message}"));
        let _ = done.send(());
    });
    let _ = printed.recv_timeout(LAST_MESSAGE_TIMEOUT);
}

/// The first failed write to stdout.
static WRITE_ERROR: Mutex<Option<io::Error>> = Mutex::new(None);

/// Runs `write` on stdout, and keeps the first error for [`finish`]. A closed pipe is no error: its reader, such as
/// `head`, has read enough.
fn write_stdout(write: impl FnOnce(&mut StdoutLock<'_>) -> io::Result<()>) {
    if let Err(error) = write(&mut io::stdout().lock())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        let mut first = WRITE_ERROR.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
    }
}

/// Flushes stdout at the end of a command.
///
/// # Errors
///
/// Returns an error if any write to stdout failed.
pub fn finish() -> Result<(), Failure> {
    write_stdout(|stdout| stdout.flush());
    let mut first = WRITE_ERROR.lock().unwrap_or_else(PoisonError::into_inner);
    match first.take() {
        Some(error) => Err(CommandError::Output(error).into()),
        None => Ok(()),
    }
}

/// Prints a line to stdout.
fn print_line(line: Arguments<'_>) {
    write_stdout(|stdout| writeln!(stdout, "{line}"));
}

/// Prints text to stdout.
pub(super) fn print(text: &str) {
    write_stdout(|stdout| stdout.write_all(text.as_bytes()));
}

/// Prints the completion script for `shell`.
pub(super) fn print_completions(shell: clap_complete::Shell, command: &mut clap::Command) {
    let mut script = Vec::new(); // `generate` panics on write errors
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, command, name, &mut script);
    write_stdout(|stdout| stdout.write_all(&script));
}

/// Prints data as JSON on one line.
pub(super) fn print_json(data: &impl Serialize) {
    write_stdout(|stdout| {
        serde_json::to_writer(&mut *stdout, data)?;
        writeln!(stdout)
    });
}

/// Returns the number of columns if stdout is a terminal.
pub(super) fn terminal_width() -> Option<usize> {
    let terminal = Term::stdout();
    let (_, columns) = terminal.is_term().then(|| terminal.size_checked()).flatten()?;
    Some(columns.into())
}

/// Prints a line to stderr.
fn eprint_line(line: Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints a status message to stderr.
pub(super) fn status(text: &str) {
    eprint_line(format_args!("{text}"));
}

/// Prints a question to stderr, without a line break.
pub(super) fn prompt(text: &str) {
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{text} ");
    let _ = stderr.flush();
}

/// Progress of a long operation: a bar on a terminal, otherwise a line after each tenth.
pub(super) struct Progress {
    bar: ProgressBar,
    report_interval: u64,
}

impl Progress {
    pub(super) fn new(unit: &'static str, length: u64) -> Self {
        let bar = ProgressBar::new(length);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}, {eta} left") {
            bar.set_style(style);
        }
        bar.set_message(unit);
        Self {
            bar,
            report_interval: length.div_ceil(10).max(1),
        }
    }

    pub(super) fn advance(&self) {
        self.bar.inc(1);
        if self.is_report_due() {
            self.print_report();
        }
    }

    pub(super) fn finish(&self) {
        let is_reported = self.is_report_due();
        self.bar.finish_and_clear();
        if !is_reported {
            self.print_report();
        }
    }

    fn is_report_due(&self) -> bool {
        self.bar.is_hidden() && self.bar.position().is_multiple_of(self.report_interval)
    }

    fn print_report(&self) {
        let (done, total) = (self.bar.position(), self.bar.length().unwrap_or_default());
        eprint_line(format_args!("{done} of {total} {}", self.bar.message()));
    }
}
