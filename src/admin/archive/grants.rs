//! Privileges of other roles on a tenant's schema.

use sqlx::PgConnection;

use super::ArchiveError;
use super::format::{Grant, Manifest};
use crate::admin::generated_sql::GeneratedSql;
use crate::tenancy::{DatabaseError, SchemaName};

/// First server version with the privilege `MAINTAIN`.
const MAINTAIN_SINCE: i32 = 170_000;

/// Returns the privileges on the tenant's schema, tables and sequences, except the owner's.
pub(super) async fn read_grants(
    connection: &mut PgConnection,
    tenant: &SchemaName,
) -> Result<Vec<Grant>, ArchiveError> {
    let grants = sqlx::query_as(include_str!("grants.sql")).bind(tenant.as_str());
    Ok(grants.fetch_all(connection).await?)
}

/// Grants the archived privileges on `tenant`. Returns descriptions of the grants to roles that do not exist in
/// this database.
///
/// A role with the name of the exported tenant is that tenant's role. If the tenant is imported under another
/// name, its new role gets the privileges instead.
pub(super) async fn restore_grants(
    connection: &mut PgConnection,
    tenant: &SchemaName,
    manifest: &Manifest,
) -> Result<Vec<String>, DatabaseError> {
    let mut not_granted = Vec::new();
    let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::integer")
        .fetch_one(&mut *connection)
        .await?;
    for grant in &manifest.grants {
        let grantee = match grant.grantee.as_deref() {
            Some(role) if role == manifest.tenant => Some(tenant.as_str()),
            grantee => grantee,
        };
        let object = grant.name.as_deref().unwrap_or(tenant.as_str());
        let describe = |privileges: &str, reason: &str| {
            let kind = grant.kind.to_lowercase();
            let role = grantee.unwrap_or("PUBLIC");
            format!("{privileges} on {kind} {object} for role {role}, {reason}")
        };
        let is_known = |privilege: &&str| *privilege != "MAINTAIN" || version >= MAINTAIN_SINCE;
        let (privileges, unknown): (Vec<_>, Vec<_>) = grant.privileges.split(", ").partition(is_known);
        if !unknown.is_empty() {
            not_granted.push(describe(&unknown.join(", "), "which this PostgreSQL lacks"));
        }
        if privileges.is_empty() {
            continue;
        }
        let privileges = privileges.join(", ");
        let statements: Vec<GeneratedSql> = sqlx::query_scalar(
            "SELECT format('GRANT %s ON %s %I TO %s%s', $1, $2, $3, COALESCE(quote_ident($4), 'PUBLIC'),
                           CASE WHEN $5 THEN ' WITH GRANT OPTION' END)
             WHERE $4 IS NULL OR EXISTS (SELECT FROM pg_roles WHERE rolname = $4)",
        )
        .bind(&privileges)
        .bind(&grant.kind)
        .bind(object)
        .bind(grantee)
        .bind(grant.grantable)
        .fetch_all(&mut *connection)
        .await?;
        if statements.is_empty() {
            not_granted.push(describe(&privileges, "which does not exist"));
        }
        for statement in statements {
            statement.run(connection).await?;
        }
    }
    Ok(not_granted)
}
