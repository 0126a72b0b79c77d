//! Everything that is written for a person to read, but for the log. What nobody reads any more, as when
//! a pipe was closed, is lost and stops nothing.

mod fleet;
mod outcome;
mod relocation;
mod transfer;

use std::error::Error;
use std::fmt::Arguments;
use std::io::Write;

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::error_chain;

pub(super) use fleet::FleetOutput;
pub(super) use outcome::OutcomeOutput;
pub(super) use relocation::MoveOutput;
pub(super) use transfer::{Transfer, standard_output, transferred};

/// Tells why the process fails, with all causes.
pub fn failure(error: &dyn Error) {
    let texts = error_chain::messages(error);
    tell(format_args!("error: {}", texts.join("\n  because: ")));
}

/// Tells why the process does not begin.
pub fn refuse(reason: &str) {
    tell(format_args!("error: {reason}"));
}

/// What a program could read: to standard output.
fn answer(line: Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A text that a program could read, or a person.
pub(super) fn data(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// What completes the commands of this program in `shell`.
pub(super) fn completions(shell: clap_complete::Shell, command: &mut clap::Command) {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, command, name, &mut script);
    let _ = std::io::stdout().write_all(&script);
}

/// Data for programs, on one line.
pub(super) fn json(data: &impl Serialize) {
    let mut stdout = std::io::stdout().lock();
    let _ = serde_json::to_writer(&mut stdout, data);
    let _ = writeln!(stdout);
}

/// The columns of the terminal that data is written to; none where it goes elsewhere.
pub(super) fn width() -> Option<usize> {
    let terminal = Term::stdout();
    let (_, columns) = terminal.is_term().then(|| terminal.size_checked()).flatten()?;
    Some(columns.into())
}

/// All else: to standard error.
fn tell(line: Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Tells what is going on.
pub(super) fn step(text: &str) {
    tell(format_args!("{text}"));
}

/// Asks, and leaves the line open for the answer.
pub(super) fn question(text: &str) {
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{text} ");
    let _ = stderr.flush();
}

/// How far long work has come: a bar on a terminal, a line every tenth elsewhere.
pub(super) struct Progress(ProgressBar, u64);

impl Progress {
    pub(super) fn new(what: &'static str, length: u64) -> Self {
        let bar = ProgressBar::new(length);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}, {eta} to go") {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self(bar, length.div_ceil(10).max(1))
    }

    pub(super) fn advance(&self) {
        self.0.inc(1);
        if self.0.is_hidden() && self.is_tenth() {
            self.line();
        }
    }

    /// Writes something else beside the bar.
    fn suspended(&self, write: impl FnOnce()) {
        self.0.suspend(write);
    }

    fn is_hidden(&self) -> bool {
        self.0.is_hidden()
    }

    pub(super) fn finish(&self) {
        let told = self.0.is_hidden() && self.is_tenth();
        self.0.finish_and_clear();
        if !told {
            self.line();
        }
    }

    fn is_tenth(&self) -> bool {
        self.0.position().is_multiple_of(self.1)
    }

    fn line(&self) {
        let (done, of) = (self.0.position(), self.0.length().unwrap_or_default());
        tell(format_args!("{done} of {of} {}", self.0.message()));
    }
}
