//! Confirmation of destructive or disruptive commands.

use std::io::{IsTerminal, stdin};

use tokio::sync::oneshot;

use super::output;

/// Returns true if stdin is a terminal.
pub(super) fn is_interactive() -> bool {
    stdin().is_terminal()
}

/// Asks `question` and returns true if the answer is yes.
pub(super) async fn ask(question: &str) -> bool {
    output::prompt(&format!("{question} [y/N]"));
    let (sender, answer) = oneshot::channel();
    // The process does not wait for this thread, so a signal can end it before there is an answer.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = stdin().read_line(&mut line);
        let _ = sender.send(read.is_ok() && matches!(line.trim(), "y" | "Y" | "yes"));
    });
    answer.await.unwrap_or(false)
}
