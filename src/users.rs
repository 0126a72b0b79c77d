//! The users that all tenants share: who someone is, and whose tenant they belong to.

use sqlx::Row;

use crate::tenancy::{Database, DatabaseError};

/// A user, as far as this service reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Opaque text.
    pub id: String,
    /// The display name, where there is one.
    pub name: Option<String>,
    /// The name of the tenant's schema, not yet checked.
    pub organization_id: String,
}

/// Finds the user `id` in `public.users`.
///
/// # Errors
///
/// [`DatabaseError`]; never for an id that no user can have.
pub(crate) async fn find(database: &Database, id: &str) -> Result<Option<User>, DatabaseError> {
    if id.contains('\0') {
        return Ok(None); // PostgreSQL's text holds no NUL
    }
    let found = database
        .fetch_optional(
            "SELECT id::text, name::text, COALESCE(organization_id::text, '') FROM public.users WHERE id::text = $1",
            |statement| statement.bind(id),
        )
        .await;
    let row = match found {
        Ok(Some(row)) => row,
        // The id has a character that the database's encoding lacks, so nobody has it.
        Ok(None) | Err(DatabaseError::Unencodable(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(User {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        organization_id: row.try_get(2)?,
    }))
}

/// Whether there are no users at all.
///
/// # Errors
///
/// [`DatabaseError`].
pub(crate) async fn are_none(database: &Database) -> Result<bool, DatabaseError> {
    let some = database
        .fetch_optional("SELECT id::text FROM public.users LIMIT 1", |statement| statement)
        .await?;
    Ok(some.is_none())
}

/// Whether a connection answers and `public.users` can be read.
///
/// # Errors
///
/// [`DatabaseError`] where not.
pub(crate) async fn check(database: &Database) -> Result<(), DatabaseError> {
    database
        .fetch_optional(
            "SELECT id::text, name::text, organization_id::text FROM public.users LIMIT 0",
            |statement| statement,
        )
        .await?;
    Ok(())
}
