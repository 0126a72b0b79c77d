//! The statements of migrations that run outside a transaction.

use sqlparser::tokenizer::Token;
use sqlx::migrate::Migration;

use crate::admin::generated_sql::GeneratedSql;
use crate::admin::sql_tokens::{tokenize, word};

/// Returns the statements of `migration` for a schema that no other session uses: they can run in a
/// transaction. Indexes are not created concurrently, and nothing is vacuumed.
pub(in crate::admin) fn in_transaction(migration: &Migration) -> Vec<GeneratedSql> {
    let statements = GeneratedSql::from_migration(migration);
    if !migration.no_tx {
        return vec![statements];
    }
    let is_vacuum = |statement: &GeneratedSql| {
        words(statement.as_str())
            .next()
            .is_some_and(|word| word == "vacuum")
    };
    let statements = statements.split().into_iter();
    statements
        .filter(|statement| !is_vacuum(statement))
        .map(|statement| statement.without_word("concurrently"))
        .collect()
}

/// Returns whether the text contains more than comments.
pub(super) fn has_statement(migration: &Migration) -> bool {
    let sql = migration.sql.as_str();
    tokenize(sql).map_or(!sql.trim().is_empty(), |tokens| {
        let is_blank = |token: &Token| matches!(token, Token::Whitespace(_) | Token::SemiColon);
        tokens.iter().any(|(token, _)| !is_blank(token))
    })
}

/// An index that a statement creates concurrently.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ConcurrentIndex {
    Named(String),
    /// PostgreSQL chooses the name.
    Unnamed,
}

/// Returns the indexes that `migration` creates concurrently.
pub(super) fn concurrent_indexes(migration: &Migration) -> impl Iterator<Item = ConcurrentIndex> {
    let statements = GeneratedSql::from_migration(migration).split().into_iter();
    statements.filter_map(|statement| concurrent_index(statement.as_str()))
}

/// Returns the index that `statement` creates concurrently, or `None` for any other statement.
pub(super) fn concurrent_index(statement: &str) -> Option<ConcurrentIndex> {
    let mut words = words(statement).peekable();
    words.next_if(|word| word == "create")?;
    let _ = words.next_if(|word| word == "unique");
    words.next_if(|word| word == "index")?;
    words.next_if(|word| word == "concurrently")?;
    for optional in ["if", "not", "exists"] {
        let _ = words.next_if(|word| word == optional);
    }
    let name = words.next()?;
    Some(if name == "on" {
        ConcurrentIndex::Unnamed
    } else {
        ConcurrentIndex::Named(name)
    })
}

/// Returns the words at the beginning of a statement: keywords, and identifiers as PostgreSQL stores them.
fn words(statement: &str) -> impl Iterator<Item = String> {
    let tokens = tokenize(statement).unwrap_or_default().into_iter();
    tokens
        .map(|(token, _)| token)
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .map_while(|token| word(&token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concurrent_indexes_are_found() {
        let named = |name: &str| Some(ConcurrentIndex::Named(name.to_owned()));
        for (statement, expected) in [
            ("CREATE INDEX CONCURRENTLY By_User ON t (a)", named("by_user")),
            (
                "-- text\n create unique index concurrently IF NOT EXISTS \"By\" ON t (a)",
                named("By"),
            ),
            (
                "CREATE INDEX CONCURRENTLY ON t (a)",
                Some(ConcurrentIndex::Unnamed),
            ),
            ("CREATE INDEX by_user ON t (a)", None),
            ("DROP INDEX CONCURRENTLY by_user", None),
        ] {
            assert_eq!(concurrent_index(statement), expected, "{statement}");
        }
    }
}
