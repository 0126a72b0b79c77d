//! Tokens of SQL text, by the lexer of `sqlparser`.

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Location, Token, Tokenizer};

/// Returns the keyword or identifier in `token` as PostgreSQL stores it: in lower case unless it is quoted. Returns `None`
/// for other tokens.
pub(super) fn word(token: &Token) -> Option<String> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_lowercase()),
        Token::Word(word) => Some(word.value.clone()),
        _ => None,
    }
}

/// Returns whether `token` is one of these keywords, which are in lower case.
pub(super) fn is_keyword(token: &Token, keywords: &[&str]) -> bool {
    matches!(token, Token::Word(word)
        if word.quote_style.is_none() && keywords.contains(&word.value.to_lowercase().as_str()))
}

/// Splits `sql` into tokens, each with its exact text: the texts joined are `sql`. Returns `None` if the
/// lexer does not understand `sql`.
pub(super) fn tokenize(sql: &str) -> Option<Vec<(Token, &str)>> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize_with_location()
        .ok()?;
    // The lexer counts lines and characters, where slices need bytes.
    let mut here = Location::new(1, 1);
    let mut starts = tokens.iter().map(|token| token.span.start).peekable();
    let mut offsets = Vec::with_capacity(tokens.len() + 1);
    for (offset, character) in sql.char_indices() {
        if starts.next_if_eq(&here).is_some() {
            offsets.push(offset);
        }
        here = match character {
            '\n' => Location::new(here.line + 1, 1),
            _ => Location::new(here.line, here.column + 1),
        };
    }
    if offsets.len() != tokens.len() {
        return None;
    }
    offsets.push(sql.len());
    let texts = offsets
        .array_windows()
        .map(|[start, end]| sql.get(*start..*end).unwrap_or_default());
    Some(tokens.into_iter().map(|token| token.token).zip(texts).collect())
}
