//! The reply to a message.

#![expect(
    clippy::disallowed_types,
    reason = "the text of a message is built by Message alone"
)]

use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Either, PgConnection, Row, ValueRef, raw_sql};

use super::DatabaseError;
use super::id_type::{IdTypes, id_types};
use super::message::{Message, MessageForms};

/// Expected number of rows in a tenant's schema. More are copied while their buffer grows.
const EXPECTED_ROWS: usize = 16;

/// The rows of a message's statements.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The rows of the statement over shared tables.
    pub(crate) shared: Vec<PgRow>,
    /// The rows of the statement in the tenant's schema.
    pub(crate) tenant: Vec<PgRow>,
    pub(super) shared_id_types: Option<IdTypes>,
    pub(super) tenant_id_types: Option<IdTypes>,
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
    pub(super) async fn read(
        connection: &mut PgConnection,
        mut message: Message,
    ) -> Result<Self, MessageError> {
        let mut reply = Self {
            shared: Vec::new(),
            tenant: Vec::with_capacity(EXPECTED_ROWS),
            shared_id_types: None,
            tenant_id_types: None,
        };
        let mut completed = 0;
        let mut stream = raw_sql(AssertSqlSafe(std::mem::take(&mut message.text))).fetch_many(connection);
        loop {
            let error = match stream.try_next().await {
                Ok(Some(Either::Left(_))) => {
                    completed += 1;
                    continue;
                }
                Ok(Some(Either::Right(row))) => match reply.push(&message, completed, row) {
                    Ok(()) => continue,
                    Err(error) => error,
                },
                Ok(None) => return Ok(reply),
                Err(error) => error,
            };
            return Err(MessageError {
                source: if message.role == Some(completed) {
                    DatabaseError::from_set_role(error)
                } else {
                    error.into()
                },
                shared: (completed > message.shared).then_some(reply.shared),
                is_at_lock: message.lock == Some(completed),
            });
        }
    }

    /// Adds a row of the statement at `position`.
    fn push(&mut self, message: &Message, position: usize, row: PgRow) -> Result<(), sqlx::Error> {
        if position == message.shared {
            self.shared.push(row);
        } else if Some(position) == message.shared_id_types {
            self.shared_id_types = Some(id_types(&row)?);
        } else if Some(position) == message.tenant_id_types {
            self.tenant_id_types = Some(id_types(&row)?);
        } else {
            self.tenant.push(row);
        }
        Ok(())
    }
}

impl MessageError {
    /// Returns the forms of the message that may succeed where `forms` failed, if there are any.
    ///
    /// PostgreSQL refuses to lock foreign tables and materialized views, and tables of which the service may read
    /// only some columns. It refuses to compare columns of different collations, and ids with values of another
    /// type than before, after a migration.
    pub(super) fn other_forms(&self, mut forms: MessageForms) -> Option<MessageForms> {
        let failed = if self.shared.is_some() {
            &mut forms.tenant
        } else {
            &mut forms.shared
        };
        match self.source.sqlstate().as_deref()? {
            // wrong_object_type, insufficient_privilege
            "42809" | "42501" if self.is_at_lock => failed.is_inline = true,
            // collation_mismatch, indeterminate_collation
            "42P21" | "42P22" if !failed.has_collation => failed.has_collation = true,
            // undefined_function
            "42883" if failed.id_types.is_some() => {
                failed.id_types = None;
                failed.asks_for_id_types = true;
            }
            _ => return None,
        }
        Some(forms)
    }
}

/// Returns the text of a column. Unlike `try_get`, it does not look up the column's type, which costs more than the rest of
/// reading it.
pub(crate) fn read_text(row: &PgRow, column: usize) -> Result<Option<&str>, sqlx::Error> {
    let value = row.try_get_raw(column)?;
    if value.is_null() {
        return Ok(None);
    }
    let text = value.as_str().map_err(|source| sqlx::Error::ColumnDecode {
        index: column.to_string(),
        source,
    });
    text.map(Some)
}

/// Returns whether a boolean column is true. The reply to a simple query has text only.
pub(crate) fn is_true(row: &PgRow, column: usize) -> Result<bool, sqlx::Error> {
    Ok(read_text(row, column)? == Some("t"))
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
