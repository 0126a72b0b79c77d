//! The users that all tenants share, and whose tenant each belongs to.

use sqlx::Row;

use crate::tenancy::{Database, DatabaseError, RequestTimings};

/// Finds whose tenant the user `id` belongs to: the name of its schema, not yet checked. None where
/// there is no such user.
///
/// # Errors
///
/// [`DatabaseError`]; never for an id that no user can have.
pub(crate) async fn organization_of(
    database: &Database,
    trace: &RequestTimings,
    id: &str,
) -> Result<Option<String>, DatabaseError> {
    if id.contains('\0') {
        return Ok(None); // PostgreSQL's text holds no NUL
    }
    let found = database
        .fetch_optional(
            trace,
            "SELECT COALESCE(organization_id::text, '') FROM public.users WHERE id::text = $1",
            |statement| statement.bind(id),
        )
        .await;
    match found {
        Ok(Some(row)) => Ok(Some(row.try_get(0)?)),
        // The id has a character that the database's encoding lacks, so nobody has it.
        Ok(None) | Err(DatabaseError::Unencodable(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether there are no users at all.
///
/// # Errors
///
/// [`DatabaseError`].
pub(crate) async fn are_none(database: &Database) -> Result<bool, DatabaseError> {
    let some = database
        .fetch_optional(
            &RequestTimings::disabled(),
            "SELECT id::text FROM public.users LIMIT 1",
            |statement| statement,
        )
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
            &RequestTimings::disabled(),
            "SELECT id::text, name::text, organization_id::text FROM public.users LIMIT 0",
            |statement| statement,
        )
        .await?;
    Ok(())
}
