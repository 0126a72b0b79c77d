//! A tenant's users, who are rows of a table that all tenants share.

use sqlx::{PgConnection, Row, raw_sql};

use super::ArchiveError;
use super::format::Column;
use crate::admin::generated_sql::GeneratedSql;
use crate::tenancy::{DatabaseError, SchemaName};

/// Copies into the table that [`stage`] makes.
pub(super) const COPY_IN: &str = "COPY _archived_users FROM STDIN";

/// The statement that copies the rows of the tenant's users.
pub(super) async fn copy_out(
    connection: &mut PgConnection,
    tenant: &SchemaName,
    columns: &[Column],
) -> Result<GeneratedSql, DatabaseError> {
    let generator = sqlx::query(
        "SELECT format('COPY (SELECT %s FROM public.users WHERE organization_id = %L) TO STDOUT',
                       string_agg(quote_ident(name), ', ' ORDER BY number), $2)
         FROM unnest($1) WITH ORDINALITY AS columns (name, number)",
    );
    GeneratedSql::fetch_one(connection, generator.bind(names(columns)).bind(tenant.as_str())).await
}

/// Makes a table, in the schema that the search path names, for users of an archive. It has the columns
/// of the archive, which must be there, and their types in this database.
pub(super) async fn stage(connection: &mut PgConnection, columns: &[Column]) -> Result<(), DatabaseError> {
    let generator = sqlx::query(
        "SELECT format('CREATE TABLE _archived_users AS SELECT %s FROM public.users WITH NO DATA',
                       string_agg(quote_ident(name), ', ' ORDER BY number))
         FROM unnest($1) WITH ORDINALITY AS columns (name, number)",
    );
    let statement = GeneratedSql::fetch_one(connection, generator.bind(names(columns))).await?;
    statement.run(connection).await
}

/// Makes those users `tenant`'s. They may be there already, but only as the same.
pub(super) async fn take_over(
    connection: &mut PgConnection,
    tenant: &SchemaName,
    columns: &[Column],
) -> Result<(), ArchiveError> {
    sqlx::query("UPDATE _archived_users SET organization_id = $1 WHERE organization_id <> $1")
        .bind(tenant.as_str())
        .execute(&mut *connection)
        .await?;
    refuse_others(connection).await?;
    let generator = sqlx::query(
        "SELECT format('INSERT INTO public.users (%1$s) OVERRIDING SYSTEM VALUE
                        SELECT %1$s FROM _archived_users a
                        WHERE NOT EXISTS (SELECT FROM public.users u WHERE u.id = a.id)',
                       string_agg(quote_ident(name), ', ' ORDER BY number))
         FROM unnest($1) WITH ORDINALITY AS columns (name, number)",
    );
    let statement = GeneratedSql::fetch_one(connection, generator.bind(names(columns))).await?;
    statement.run(connection).await?;
    raw_sql("DROP TABLE _archived_users").execute(connection).await?;
    Ok(())
}

/// Refuses users who have the id of another. Columns that the archive lacks do not count.
async fn refuse_others(connection: &mut PgConnection) -> Result<(), ArchiveError> {
    let others = sqlx::query(
        "SELECT u.id::text, count(*) OVER ()
         FROM _archived_users a JOIN public.users u ON u.id = a.id
         WHERE to_jsonb(a) <> (SELECT jsonb_object_agg(key, value) FROM jsonb_each(to_jsonb(u))
                               WHERE to_jsonb(a) ? key)
         ORDER BY u.id LIMIT 5",
    )
    .fetch_all(connection)
    .await?;
    let Some(first) = others.first() else {
        return Ok(());
    };
    let count: i64 = first.try_get(1)?;
    let some: Result<_, sqlx::Error> = others.iter().map(|row| row.try_get(0)).collect();
    Err(ArchiveError::UsersExist { count, some: some? })
}

fn names(columns: &[Column]) -> Vec<&str> {
    columns.iter().map(|column| column.name.as_str()).collect()
}
