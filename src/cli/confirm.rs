//! Confirmation of destructive or disruptive commands.

use std::io::{IsTerminal, stdin};

use tokio::sync::oneshot;

use super::{CommandError, output};

/// Fails if [`ask`] would have no terminal to ask on.
pub(super) fn require_terminal() -> Result<(), CommandError> {
    if stdin().is_terminal() {
        Ok(())
    } else {
        Err(CommandError::Unconfirmed)
    }
}

/// Asks `question`, and fails unless the answer is yes.
pub(super) async fn ask(question: &str) -> Result<(), CommandError> {
    output::prompt(&format!("{question} [y/N]"));
    let (sender, answer) = oneshot::channel();
    // The process does not wait for this thread, so a signal can end it before there is an answer.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = stdin().read_line(&mut line);
        let _ = sender.send(read.is_ok() && matches!(line.trim(), "y" | "Y" | "yes"));
    });
    match answer.await {
        Ok(true) => Ok(()),
        _ => Err(CommandError::Declined),
    }
}
