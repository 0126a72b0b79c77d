//! A tenant's users: rows of `public.users`, which all tenants share.

use sqlx::{PgConnection, raw_sql};

use super::ArchiveError;
use super::format::ArchivedColumn;
use crate::admin::generated_sql::GeneratedSql;
use crate::tenancy::{DatabaseError, SchemaName};

/// Copies rows into the table that [`create_staging_table`] creates.
pub(super) const COPY_IN: &str = "COPY _archived_users FROM STDIN";

/// Returns the COPY statement that reads the tenant's users.
pub(super) async fn copy_out_statement(
    connection: &mut PgConnection,
    tenant: &SchemaName,
    columns: &[ArchivedColumn],
) -> Result<GeneratedSql, DatabaseError> {
    let template =
        "COPY (SELECT %1$s FROM public.users WHERE organization_id::text COLLATE \"C\" = %2$L) TO STDOUT";
    format_statement(connection, template, columns, tenant).await
}

/// Returns a description for each foreign key to `public.users` with rows that refer to users of other
/// organizations. The archive does not contain these users.
pub(super) async fn describe_other_users(
    connection: &mut PgConnection,
    tenant: &SchemaName,
) -> Result<Vec<String>, DatabaseError> {
    let counts: Vec<GeneratedSql> = sqlx::query_scalar(include_str!("other_users.sql"))
        .bind(tenant.as_str())
        .fetch_all(&mut *connection)
        .await?;
    let mut descriptions = Vec::new();
    for count in counts {
        let rows: Vec<(String,)> = count.fetch_all(connection).await?;
        descriptions.extend(rows.into_iter().map(|(description,)| description));
    }
    Ok(descriptions)
}

/// Creates a table for the users of an archive in `tenant`, the first schema of the search path. It has the
/// columns of the archive, which must exist in `public.users`, with their types in this database.
pub(super) async fn create_staging_table(
    connection: &mut PgConnection,
    tenant: &SchemaName,
    columns: &[ArchivedColumn],
) -> Result<(), DatabaseError> {
    let template = "CREATE TABLE _archived_users AS SELECT %1$s FROM public.users WITH NO DATA";
    let statement = format_statement(connection, template, columns, tenant).await?;
    Ok(statement.run(connection).await?)
}

/// Inserts the staged users as users of `tenant`. Identical users can exist already.
pub(super) async fn insert_staged(
    connection: &mut PgConnection,
    tenant: &SchemaName,
    columns: &[ArchivedColumn],
) -> Result<(), ArchiveError> {
    sqlx::query(
        "UPDATE _archived_users SET organization_id = $1 WHERE organization_id::text COLLATE \"C\" <> $1",
    )
    .bind(tenant.as_str())
    .execute(&mut *connection)
    .await?;
    refuse_conflicts(connection).await?;
    let template = "INSERT INTO public.users (%1$s) OVERRIDING SYSTEM VALUE
                    SELECT %1$s FROM _archived_users a
                    WHERE NOT EXISTS (SELECT FROM public.users u WHERE u.id = a.id)";
    let statement = format_statement(connection, template, columns, tenant).await?;
    statement.run(connection).await?;
    raw_sql("DROP TABLE _archived_users").execute(connection).await?;
    Ok(())
}

/// Replaces `%1$s` in `template` by the quoted names of the columns, and `%2$L` by the quoted name of the tenant.
async fn format_statement(
    connection: &mut PgConnection,
    template: &str,
    columns: &[ArchivedColumn],
    tenant: &SchemaName,
) -> Result<GeneratedSql, DatabaseError> {
    let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
    let generator = sqlx::query_scalar(
        "SELECT format($1, string_agg(quote_ident(name), ', ' ORDER BY number), $3)
         FROM unnest($2) WITH ORDINALITY AS columns (name, number)",
    );
    let generator = generator.bind(template).bind(names).bind(tenant.as_str());
    Ok(generator.fetch_one(connection).await?)
}

/// Fails if another user has the id of a staged one. Columns that the archive lacks are not compared.
async fn refuse_conflicts(connection: &mut PgConnection) -> Result<(), ArchiveError> {
    let conflicts: Vec<(String, i64)> = sqlx::query_as(
        "SELECT u.id::text, count(*) OVER ()
         FROM _archived_users a JOIN public.users u ON u.id = a.id
         WHERE to_jsonb(a) <> (SELECT jsonb_object_agg(key, value) FROM jsonb_each(to_jsonb(u))
                               WHERE to_jsonb(a) ? key)
         ORDER BY u.id LIMIT 5",
    )
    .fetch_all(connection)
    .await?;
    let (ids, counts): (Vec<_>, Vec<_>) = conflicts.into_iter().unzip();
    match counts.first() {
        Some(&count) => Err(ArchiveError::UserConflicts { count, ids }),
        None => Ok(()),
    }
}
