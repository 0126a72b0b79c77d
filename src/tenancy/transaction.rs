//! Work in one tenant's schema: a read-only transaction whose search path names that schema alone.

#![expect(
    clippy::disallowed_types,
    reason = "the text of a tenant's statement is built here, from constants and an encoded name"
)]

use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgRow;

use super::lease::Lease;
use super::session::{SearchPath, Statement};
use super::{DatabaseError, SchemaName};

/// An open transaction in one tenant's schema.
///
/// Made by `Database::begin_tenant` alone. It ends by [`TenantTransaction::end`]; dropped in any
/// other way it closes its connection.
pub(crate) struct TenantTransaction {
    lease: Lease,
    tenant: Arc<SchemaName>,
    comment: String,
}

impl TenantTransaction {
    /// Opens the transaction and sets its search path in one message.
    pub(super) async fn begin(mut lease: Lease, schema: &Arc<SchemaName>) -> Result<Self, DatabaseError> {
        lease.begin(SearchPath::Tenant(schema)).await?;
        Ok(Self {
            lease,
            tenant: Arc::clone(schema),
            comment: comment(schema),
        })
    }

    /// The name of the tenant's schema, to be bound as a value.
    pub(crate) fn tenant(&self) -> &str {
        self.tenant.as_str()
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
        let query = bind(self.lease.prepared(sqlx::query(AssertSqlSafe(text))));
        Ok(query.fetch_all(self.lease.connection()).await?)
    }

    /// Ends the transaction, without making its caller wait: nothing was written.
    pub(crate) fn end(self) {
        self.lease.roll_back_unattended();
    }

    /// Ends the transaction, and waits until the server has done so.
    pub(super) async fn roll_back(self) -> Result<(), DatabaseError> {
        self.lease.roll_back().await
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
