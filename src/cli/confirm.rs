//! Asking before what cannot be undone, or is felt by others.

use std::io::{IsTerminal, stdin};

use tokio::sync::oneshot;

use super::output;

/// Whether there is a terminal to ask on.
pub(super) fn can_ask() -> bool {
    stdin().is_terminal()
}

/// Whether the user says yes; anything else is no.
pub(super) async fn ask(question: &str) -> bool {
    output::question(&format!("{question} [y/N]"));
    let (sender, answer) = oneshot::channel();
    // On a thread of its own, which nobody waits for: a signal ends the process, answer or not.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = stdin().read_line(&mut line);
        let _ = sender.send(read.is_ok() && matches!(line.trim(), "y" | "Y" | "yes"));
    });
    answer.await.unwrap_or(false)
}
