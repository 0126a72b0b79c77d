//! Work in one tenant's schema: a read-only transaction whose search path names that schema alone.

#![expect(
    clippy::disallowed_types,
    reason = "the text of a tenant's statement is built here, from constants and an encoded name"
)]

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, raw_sql};

use super::{DatabaseError, SchemaName, lease::Lease};

/// After this a rollback is given up and its connection closed.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(5);

/// A statement whose parameters are to be bound.
pub(crate) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// An open transaction in one tenant's schema.
///
/// Made by `Database::begin_tenant` alone. It ends by [`TenantTransaction::end`]; dropped in any
/// other way it closes its connection.
pub(crate) struct TenantTransaction {
    lease: Lease,
    comment: String,
}

impl TenantTransaction {
    /// Opens the transaction and sets its search path in one message.
    ///
    /// READ COMMITTED because a statement's snapshot is then taken after its locks: behind a table
    /// rewrite, an older snapshot sees an empty table. `pg_temp` is named, and last, since a search
    /// path that does not name it searches it first (PostgreSQL manual, section 20.11.1).
    pub(super) async fn begin(mut lease: Lease, schema: &SchemaName) -> Result<Self, DatabaseError> {
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; \
             SET LOCAL search_path TO {}, pg_temp",
            schema.quoted()
        );
        raw_sql(AssertSqlSafe(begin)).execute(lease.connection()).await?;
        Ok(Self {
            lease,
            comment: comment(schema),
        })
    }

    /// Runs `statement` under the tenant's search path and returns all its rows.
    ///
    /// Each tenant has a prepared statement of its own: PostgreSQL plans a cached statement anew
    /// whenever the search path differs from the last run's.
    ///
    /// # Errors
    ///
    /// After an error the transaction can only be dropped, which closes its connection. The same
    /// holds where the future is dropped before it is done.
    pub(crate) async fn fetch_all(
        &mut self,
        statement: &'static str,
        bind: impl FnOnce(Statement<'_>) -> Statement<'_>,
    ) -> Result<Vec<PgRow>, DatabaseError> {
        let text = format!("{}{statement}", self.comment);
        let query = bind(sqlx::query(AssertSqlSafe(text)));
        Ok(query.fetch_all(self.lease.connection()).await?)
    }

    /// Ends the transaction behind the caller's back: nothing was written, so nobody needs to wait
    /// for the rollback.
    pub(crate) fn end(mut self) {
        tokio::spawn(async move {
            let rollback = raw_sql("ROLLBACK").execute(self.lease.connection());
            match tokio::time::timeout(ROLLBACK_TIMEOUT, rollback).await {
                Ok(Ok(_)) => self.lease.hand_back(),
                Ok(Err(error)) => tracing::debug!(%error, "rollback failed: connection closed"),
                Err(_) => tracing::debug!("rollback timed out: connection closed"),
            }
        });
    }
}

/// A comment that makes the statement's text this tenant's own. Encoded, so that no name can end
/// the comment or open another.
fn comment(schema: &SchemaName) -> String {
    format!(
        "/* {} */ ",
        utf8_percent_encode(schema.as_str(), NON_ALPHANUMERIC)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_name_breaks_out_of_its_comment_and_no_two_share_one(a in any::<String>(), b in any::<String>()) {
            let (Ok(a), Ok(b)) = (SchemaName::parse(&a), SchemaName::parse(&b)) else { return Ok(()) };
            let text = comment(&a);
            prop_assert_eq!(text.matches("*/").count(), 1);
            prop_assert_eq!(text.matches("/*").count(), 1);
            prop_assert_eq!(a == b, comment(&a) == comment(&b));
        }
    }
}
