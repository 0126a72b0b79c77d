//! Tenants' roles: one for each, which can read that tenant and nothing else.

use std::collections::HashMap;

use sqlx::{Acquire, PgConnection, Row};

use super::AdminError;
use crate::admin::generated_sql::GeneratedSql;
use crate::config::RoleSettings;
use crate::tenancy::{DatabaseError, SchemaName};

/// The role of which all tenants' roles are members: it can read what the service does of `public.users`.
const READERS: &str = "tenant-orders users";

/// Whoever makes roles holds this lock: two sessions that grant rights to the same table at once fail.
const LOCK: &str =
    "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('tenant-orders roles', 0))";

/// What becomes of a tenant's role when the tenant is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleFate {
    /// There is none.
    None,
    /// It is dropped too.
    Dropped,
    /// It stays, for this reason.
    Kept(String),
}

/// Makes the tenant's role, and grants it what it lacks, in the transaction that is open; whether anything
/// was missing.
///
/// # Errors
///
/// [`AdminError::UnfitRole`] where there is a role of that name which is more than such a role.
pub(super) async fn ensure(
    transaction: &mut PgConnection,
    schema: &SchemaName,
    settings: &RoleSettings,
) -> Result<bool, AdminError> {
    let is_incomplete = |row: &Findings| !row.statements.is_empty();
    let mut found = look(transaction, &[schema.as_str()], settings.service_role()).await?;
    if found.iter().any(is_incomplete) {
        sqlx::query(LOCK).execute(&mut *transaction).await?;
        found = look(transaction, &[schema.as_str()], settings.service_role()).await?;
    }
    let Some(found) = found.pop() else {
        return Ok(false);
    };
    if !found.flaws.is_empty() {
        return Err(AdminError::UnfitRole { flaws: found.flaws });
    }
    for statement in found.statements {
        statement.run(transaction).await?;
    }
    Ok(true)
}

/// What a tenant's role is, where it is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shortcoming {
    /// It is missing, or lacks rights.
    Incomplete,
    /// It cannot be made, or is more than such a role, for these reasons.
    Unfit(Vec<String>),
}

/// Those of the tenants whose roles are not as they should be. One query finds them all.
pub(super) async fn shortcomings(
    connection: &mut PgConnection,
    schemas: &[&str],
    settings: &RoleSettings,
) -> Result<HashMap<String, Shortcoming>, DatabaseError> {
    let found = look(connection, schemas, settings.service_role()).await?;
    let shortcomings = found.into_iter().map(|found| {
        let shortcoming = match found.flaws {
            flaws if flaws.is_empty() => Shortcoming::Incomplete,
            flaws => Shortcoming::Unfit(flaws),
        };
        (found.tenant, shortcoming)
    });
    Ok(shortcomings.collect())
}

/// What would become of the role that has the name of the tenant, if that was dropped.
pub(super) async fn fate(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<RoleFate, DatabaseError> {
    let is_ours: Option<bool> = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
                        WHERE m.member = r.oid AND g.rolname = $2)
         FROM pg_catalog.pg_roles r WHERE r.rolname = $1",
    )
    .bind(schema.as_str())
    .bind(READERS)
    .fetch_optional(&mut *connection)
    .await?;
    match is_ours {
        None => return Ok(RoleFate::None),
        Some(false) => return Ok(RoleFate::Kept("this program did not make it".to_owned())),
        Some(true) => {}
    }
    let found = look(connection, &[schema.as_str()], None).await?;
    let flaws: Vec<_> = found.into_iter().flat_map(|found| found.flaws).collect();
    if flaws.is_empty() {
        Ok(RoleFate::Dropped)
    } else {
        Ok(RoleFate::Kept(flaws.join("; ")))
    }
}

/// Drops the tenant's role in the transaction that is open, in which its schema was dropped. Where
/// something else depends on it, or others only may drop it, it stays.
pub(super) async fn drop_role(
    transaction: &mut PgConnection,
    schema: &SchemaName,
) -> Result<RoleFate, DatabaseError> {
    let mut attempt = transaction.begin().await?;
    let statement = sqlx::query("SELECT pg_catalog.format('DROP ROLE %I', $1)").bind(schema.as_str());
    let statement = GeneratedSql::fetch_one(&mut attempt, statement).await?;
    match statement.run(&mut attempt).await {
        Ok(()) => {
            attempt.commit().await?;
            Ok(RoleFate::Dropped)
        }
        Err(
            DatabaseError::Unexpected(sqlx::Error::Database(error))
            | DatabaseError::SchemaMismatch(sqlx::Error::Database(error)),
        ) => {
            attempt.rollback().await?;
            Ok(RoleFate::Kept(error.message().to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// What was found about a tenant's role.
struct Findings {
    tenant: String,
    /// What makes it more than such a role.
    flaws: Vec<String>,
    /// What makes good what is missing.
    statements: Vec<GeneratedSql>,
}

/// What there is to be told of tenants' roles; nothing of those that are as they should be.
async fn look(
    connection: &mut PgConnection,
    schemas: &[&str],
    service_role: Option<&str>,
) -> Result<Vec<Findings>, DatabaseError> {
    let rows = sqlx::query(include_str!("roles.sql"))
        .bind(schemas)
        .bind(READERS)
        .bind(service_role)
        .fetch_all(connection)
        .await?;
    let mut found: Vec<Findings> = Vec::new();
    for row in &rows {
        let tenant: String = row.try_get(0)?;
        if found.last().is_none_or(|last| last.tenant != tenant) {
            found.push(Findings {
                tenant,
                flaws: Vec::new(),
                statements: Vec::new(),
            });
        }
        let Some(last) = found.last_mut() else { continue };
        last.flaws.extend(row.try_get::<Option<String>, _>(1)?);
        last.statements.extend(GeneratedSql::of_column(row, 2)?);
    }
    Ok(found)
}
