//! A database role for each tenant, which can read that tenant and nothing else.

use sqlx::{Acquire, PgConnection};

use crate::admin::AdminError;
use crate::admin::generated_sql::GeneratedSql;
use crate::config::RoleSettings;
use crate::error_chain;
use crate::tenancy::{DatabaseError, SchemaName};

/// Name of the role through which earlier versions granted tenants' roles the columns of `public.users`.
const USERS_ROLE: &str = "tenant-orders users";

/// Comment of the roles that this program has created. A role without it remains if its tenant is dropped.
const ROLE_COMMENT: &str = "role of a tenant, created by tenant-orders";

/// Serializes the sessions that change roles: two concurrent revokes on the same table fail.
const LOCK: &str =
    "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('tenant-orders roles', 0))";

/// Outcome for the role of a tenant's name when the tenant is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleRemoval {
    /// No such role exists.
    None,
    /// The role is dropped with the tenant.
    Dropped,
    /// The role remains, for this reason.
    Kept(String),
}

/// Creates the tenant's role, or repairs its rights, in the current transaction. Returns `false` if
/// nothing was missing. Fails if the role of that name has more rights than a tenant's role.
pub(in crate::admin) async fn ensure(
    transaction: &mut PgConnection,
    schema: &SchemaName,
    settings: &RoleSettings,
) -> Result<bool, AdminError> {
    let is_incomplete = |state: &RoleState| !state.statements.is_empty();
    let mut states = inspect(transaction, &[schema.as_str()], settings.service_role()).await?;
    if states.iter().any(is_incomplete) {
        sqlx::query(LOCK).execute(&mut *transaction).await?;
        states = inspect(transaction, &[schema.as_str()], settings.service_role()).await?;
    }
    let Some(state) = states.pop() else {
        return Ok(false);
    };
    if !state.flaws.is_empty() {
        return Err(AdminError::UnfitRole { flaws: state.flaws });
    }
    for statement in state.statements {
        statement.run(transaction).await?;
    }
    Ok(true)
}

/// Returns the outcome that dropping the tenant has for the role of its name.
pub(super) async fn plan_removal(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<RoleRemoval, DatabaseError> {
    let is_tenant_role: Option<bool> = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
                        WHERE m.member = r.oid AND g.rolname = $2)
                OR pg_catalog.shobj_description(r.oid, 'pg_authid') IS NOT DISTINCT FROM $3
         FROM pg_catalog.pg_roles r WHERE r.rolname = $1",
    )
    .bind(schema.as_str())
    .bind(USERS_ROLE)
    .bind(ROLE_COMMENT)
    .fetch_optional(&mut *connection)
    .await?;
    match is_tenant_role {
        None => return Ok(RoleRemoval::None),
        Some(false) => return Ok(RoleRemoval::Kept("it was not created by this program".to_owned())),
        Some(true) => {}
    }
    let states = inspect(connection, &[schema.as_str()], None).await?;
    let flaws: Vec<_> = states.into_iter().flat_map(|state| state.flaws).collect();
    if flaws.is_empty() {
        Ok(RoleRemoval::Dropped)
    } else {
        Ok(RoleRemoval::Kept(flaws.join("; ")))
    }
}

/// Drops the tenant's role in the current transaction, after its schema. The role remains if other objects
/// depend on it, or if the current role lacks the right to drop it.
pub(super) async fn drop_role(
    transaction: &mut PgConnection,
    schema: &SchemaName,
) -> Result<RoleRemoval, DatabaseError> {
    let mut attempt = transaction.begin().await?;
    let statement: GeneratedSql = sqlx::query_scalar("SELECT pg_catalog.format('DROP ROLE %I', $1)")
        .bind(schema.as_str())
        .fetch_one(&mut *attempt)
        .await?;
    match statement.run(&mut attempt).await.map_err(DatabaseError::from) {
        Ok(()) => {
            attempt.commit().await?;
            Ok(RoleRemoval::Dropped)
        }
        Err(
            error @ (DatabaseError::Unexpected(sqlx::Error::Database(_))
            | DatabaseError::SchemaMismatch(sqlx::Error::Database(_))),
        ) => {
            attempt.rollback().await?;
            Ok(RoleRemoval::Kept(error_chain::messages(&error).join(": ")))
        }
        Err(error) => Err(error),
    }
}

/// State of the role of one tenant.
#[derive(Debug)]
pub(crate) struct RoleState {
    pub(in crate::admin) tenant: String,
    /// Properties that a tenant's role must not have. The operator has to resolve them.
    pub(in crate::admin) flaws: Vec<String>,
    /// Statements that create the role or repair its rights.
    statements: Vec<GeneratedSql>,
}

/// Returns the state of each role that has flaws or is incomplete, found with one query.
pub(in crate::admin) async fn inspect(
    connection: &mut PgConnection,
    schemas: &[&str],
    service_role: Option<&str>,
) -> Result<Vec<RoleState>, DatabaseError> {
    let rows: Vec<(String, Option<String>, Option<GeneratedSql>)> = sqlx::query_as(include_str!("roles.sql"))
        .bind(schemas)
        .bind(USERS_ROLE)
        .bind(service_role)
        .bind(ROLE_COMMENT)
        .fetch_all(connection)
        .await?;
    let mut states: Vec<RoleState> = Vec::new();
    for (tenant, flaw, statement) in rows {
        if states.last().is_none_or(|last| last.tenant != tenant) {
            states.push(RoleState {
                tenant,
                flaws: Vec::new(),
                statements: Vec::new(),
            });
        }
        let Some(last) = states.last_mut() else { continue };
        last.flaws.extend(flaw);
        last.statements.extend(statement);
    }
    Ok(states)
}
