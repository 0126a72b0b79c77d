//! The reply to a message.

#![expect(
    clippy::disallowed_types,
    reason = "the text of a message is built by Message alone"
)]

use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Either, PgConnection, raw_sql};

use super::DatabaseError;
use super::message::{Message, MessageForm};

/// The rows of a message's statements.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The rows of the statement over shared tables.
    pub(crate) shared: Vec<PgRow>,
    /// The rows of the statement in the tenant's schema.
    pub(crate) tenant: Vec<PgRow>,
}

/// The error that ended a message.
#[derive(Debug)]
pub(crate) struct MessageError {
    /// The error.
    pub(crate) source: DatabaseError,
    /// The rows of the statement over shared tables, if it succeeded before the error.
    pub(crate) shared: Option<Vec<PgRow>>,
    is_at_lock: bool,
}

impl Reply {
    /// Sends `message` over `connection` and reads the reply to its end. Not cancel-safe.
    ///
    /// # Errors
    ///
    /// [`MessageError`], after which the connection must not be used again.
    pub(super) async fn read(connection: &mut PgConnection, message: Message) -> Result<Self, MessageError> {
        let mut reply = Self {
            shared: Vec::new(),
            tenant: Vec::new(),
        };
        let mut completed = 0;
        let mut stream = raw_sql(AssertSqlSafe(message.text)).fetch_many(connection);
        loop {
            match stream.try_next().await {
                Ok(Some(Either::Left(_))) => completed += 1,
                Ok(Some(Either::Right(row))) if completed == message.shared => reply.shared.push(row),
                Ok(Some(Either::Right(row))) => reply.tenant.push(row),
                Ok(None) => return Ok(reply),
                Err(error) => {
                    return Err(MessageError {
                        source: if message.role == Some(completed) {
                            DatabaseError::at_role(error)
                        } else {
                            error.into()
                        },
                        shared: (completed > message.shared).then_some(reply.shared),
                        is_at_lock: message.lock == Some(completed),
                    });
                }
            }
        }
    }
}

impl MessageError {
    /// Returns the form of the message that may succeed where `form` failed, if there is one.
    ///
    /// PostgreSQL refuses to lock foreign tables and materialized views, and tables of which the service may read
    /// only some columns. It refuses to compare columns of different collations.
    pub(super) fn other_form(&self, form: MessageForm) -> Option<MessageForm> {
        match self.source.sqlstate().as_deref()? {
            // wrong_object_type, insufficient_privilege
            "42809" | "42501" if self.is_at_lock => Some(MessageForm {
                is_inline: true,
                ..form
            }),
            // collation_mismatch, indeterminate_collation
            "42P21" | "42P22" => Some(MessageForm {
                has_collation: true,
                ..form
            }),
            _ => None,
        }
    }
}

impl From<DatabaseError> for MessageError {
    fn from(source: DatabaseError) -> Self {
        Self {
            source,
            shared: None,
            is_at_lock: false,
        }
    }
}

impl AsRef<DatabaseError> for MessageError {
    fn as_ref(&self) -> &DatabaseError {
        &self.source
    }
}
