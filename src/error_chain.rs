//! An error and what caused it, told in full.

use std::error::Error;

/// The messages of `error` and of its causes, from the outermost on. A cause that its effect has told
/// already is left out.
pub(crate) fn messages(error: &dyn Error) -> Vec<String> {
    let mut messages = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !messages.iter().any(|told| told.contains(&text)) {
            messages.push(text);
        }
        next = cause.source();
    }
    messages
}
