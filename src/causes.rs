//! An error and what caused it, told in full.

use std::error::Error;

/// The texts of `error` and of its causes, from the outermost on. A cause that its effect has told
/// already is left out.
pub(crate) fn texts(error: &dyn Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !texts.iter().any(|told| told.contains(&text)) {
            texts.push(text);
        }
        next = cause.source();
    }
    texts
}
