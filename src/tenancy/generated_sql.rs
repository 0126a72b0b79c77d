//! Statements that PostgreSQL has put together itself, and quoted the names in.

#![expect(
    clippy::disallowed_types,
    reason = "the text of such a statement is an answer of PostgreSQL's own quoting functions"
)]

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Row, raw_sql};

use super::DatabaseError;

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
