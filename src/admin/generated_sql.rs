//! Statements that PostgreSQL has put together itself, and quoted the names in.

#![expect(
    clippy::disallowed_types,
    reason = "the text of such a statement is an answer of PostgreSQL's own quoting functions"
)]

use sqlparser::tokenizer::Token;
use sqlx::migrate::Migration;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Row, raw_sql};

use super::sql_tokens::tokenize;
use crate::tenancy::DatabaseError;

/// A statement, or several, made by `format` with `%I` and `%L` (PostgreSQL manual, section 9.4.1):
/// what psql's `\gexec` runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GeneratedSql(String);

impl GeneratedSql {
    /// The statements that `generator` answers, one a row.
    pub(crate) async fn fetch(
        connection: &mut PgConnection,
        generator: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<Self>, DatabaseError> {
        let rows = generator.fetch_all(connection).await?;
        let statements = rows.iter().map(|row| Ok(Self(row.try_get(0)?)));
        statements.collect()
    }

    /// The statement that `generator` answers.
    pub(crate) async fn fetch_one(
        connection: &mut PgConnection,
        generator: Query<'_, Postgres, PgArguments>,
    ) -> Result<Self, DatabaseError> {
        let row = generator.fetch_one(connection).await?;
        Ok(Self(row.try_get(0)?))
    }

    /// The statement in a column of an answer; none where it is null.
    pub(crate) fn of_column(row: &PgRow, column: usize) -> Result<Option<Self>, DatabaseError> {
        let text: Option<String> = row.try_get(column)?;
        Ok(text.map(Self))
    }

    /// Statements that were generated when an archive was made. They are trusted as much as the
    /// archive is.
    pub(crate) fn from_archive(text: String) -> Self {
        Self(text)
    }

    /// Statements of a migration that is compiled in.
    pub(crate) fn of_migration(migration: &Migration) -> Self {
        Self(migration.sql.as_str().to_owned())
    }

    /// Each of its statements, to be sent by itself. What no lexer understands is left to PostgreSQL as it is.
    pub(crate) fn one_by_one(self) -> Vec<Self> {
        let Some(tokens) = tokenize(&self.0) else {
            return vec![self];
        };
        tokens
            .split(|(token, _)| *token == Token::SemiColon)
            .map(|statement| statement.iter().map(|(_, text)| *text).collect::<String>())
            .filter(|statement| !statement.trim().is_empty())
            .map(Self)
            .collect()
    }

    /// Its text: for COPY, which has a protocol of its own.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Runs it.
    pub(crate) async fn run(self, connection: &mut PgConnection) -> Result<(), DatabaseError> {
        raw_sql(AssertSqlSafe(self.0)).execute(connection).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_by_one(sql: &str) -> Vec<String> {
        let statements = GeneratedSql(sql.to_owned()).one_by_one();
        statements.into_iter().map(|statement| statement.0).collect()
    }

    #[test]
    fn statements_are_told_apart_and_left_as_they_are() {
        for statements in [
            vec!["SELECT 1"],
            vec![
                "SELECT ';', 'it''s; x', '\\', E'\\';', U&'\\0041;'",
                "SELECT \";\"\";\" /* ; /* ; */ ; */ -- ;\n FROM x",
            ],
            vec![
                "DO $a$ BEGIN; $b$ ; $b$ END $a$",
                "SELECT $$;$$, x::text[], 1.50, B'01' FROM t WHERE a @> '{;}'",
            ],
            vec!["ALTER TABLE \"名前\".\"a;b\" ADD CHECK (x >= 0 AND y ~ '^;' AND z->>'a' <> 'é;')"],
        ] {
            assert_eq!(one_by_one(&statements.join(";")), statements);
            assert_eq!(one_by_one(&format!("{};\n;\n", statements.join(";"))), statements);
        }
        assert_eq!(
            one_by_one("SELECT 'not closed; SELECT 2"),
            ["SELECT 'not closed; SELECT 2"]
        );
    }
}
