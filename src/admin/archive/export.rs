//! Writing a tenant to an archive.

use futures_util::TryStreamExt;
use jiff::Timestamp;
use sqlx::{Connection, PgConnection};
use tokio::io::AsyncWrite;

use super::format::{
    ArchiveContents, CHECKSUMS_FILE, FORMAT_VERSION, KEYS_FILE, MANIFEST_FILE, Manifest, RowDigest,
    RowsSummary, SUMMARY_FILE, Summary, TABLES_FILE, USERS_FOLDER, checksum_line, rows_file,
};
use super::session::configure_session;
use super::tar_stream::TarWriter;
use super::{ArchiveError, definition, grants, users};
use crate::admin::migrations::source::Migrations;
use crate::admin::{AdminError, advisory_lock, database::AdminDatabase, generated_sql::GeneratedSql, schema};
use crate::tenancy::SchemaName;

/// Size from which a file of rows is closed. A file is held in memory, since its length precedes it in the tar.
const ROWS_FILE_BYTES: usize = 4 * 1024 * 1024;

const LOCK_STATEMENTS: &str = "
    SELECT format('LOCK TABLE %I.%I IN ACCESS SHARE MODE', n.nspname, c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname = $1 OR c.oid = 'public.users'::regclass
    ORDER BY n.nspname, c.relname";

const COPY_STATEMENT: &str = "SELECT format('COPY %I TO STDOUT', $1)";

/// Writes one snapshot of the tenant and its users to `to`, in constant memory. Meanwhile, migrations of this
/// tenant and other statements that alter its tables wait; reads and writes continue.
///
/// After an error, or if the future is dropped, [`super::import()`] rejects the output.
///
/// # Errors
///
/// [`ArchiveError`], for example if the tenant has objects that an archive cannot hold.
pub async fn export(
    database: &AdminDatabase,
    tenant: &SchemaName,
    to: impl AsyncWrite + Unpin + Send,
) -> Result<ArchiveContents, ArchiveError> {
    let mut connection = database.connect().await?;
    // Migrations take this lock too. Otherwise they would wait for the table locks below, and every reader of the
    // tables would queue behind them.
    advisory_lock::lock(&mut connection, tenant.as_str()).await?;
    if !schema::exists(&mut connection, tenant).await? {
        return Err(AdminError::NoSuchSchema.into());
    }
    schema::set_search_path(&mut connection, tenant).await?;
    configure_session(&mut connection).await?;
    let locks = lock_statements(&mut connection, tenant).await?;
    // The first query takes the snapshot, not BEGIN or LOCK. It must follow the locks: a table that is rewritten
    // after the snapshot appears empty in it (PostgreSQL manual, section 13.6).
    let mut snapshot = connection
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    for lock in locks.clone() {
        lock.run(&mut snapshot).await?;
    }
    if lock_statements(&mut snapshot, tenant).await? != locks {
        return Err(ArchiveError::TablesChanged);
    }
    let contents = write_archive(&mut snapshot, tenant, &database.migrations().tenant, to).await?;
    snapshot.rollback().await?;
    connection.close().await?;
    Ok(contents)
}

async fn lock_statements(
    connection: &mut PgConnection,
    tenant: &SchemaName,
) -> Result<Vec<GeneratedSql>, ArchiveError> {
    Ok(GeneratedSql::fetch(connection, sqlx::query(LOCK_STATEMENTS).bind(tenant.as_str())).await?)
}

async fn write_archive(
    snapshot: &mut PgConnection,
    tenant: &SchemaName,
    known: &Migrations,
    to: impl AsyncWrite + Unpin + Send,
) -> Result<ArchiveContents, ArchiveError> {
    let unsupported = definition::unsupported_objects(snapshot, tenant).await?;
    if !unsupported.is_empty() {
        return Err(ArchiveError::Unsupported(unsupported));
    }
    let now = Timestamp::now();
    let mut manifest = create_manifest(snapshot, tenant, now).await?;
    manifest
        .left_out
        .extend(users::other_users(snapshot, tenant).await?);
    if let Err(error) = manifest.check_migrations(known) {
        manifest
            .left_out
            .push(format!("a migration history that an import accepts: {error}"));
    }
    let mut tar = TarWriter::new(to, u64::try_from(now.as_second()).unwrap_or_default());
    write_preamble(snapshot, tenant, &manifest, &mut tar).await?;
    let statement = users::copy_out_statement(snapshot, tenant, &manifest.users).await?;
    let users = write_rows(snapshot, &statement, USERS_FOLDER, &mut tar).await?;
    let mut tables = Vec::with_capacity(manifest.tables.len());
    for table in &manifest.tables {
        let statement =
            GeneratedSql::fetch_one(snapshot, sqlx::query(COPY_STATEMENT).bind(&table.name)).await?;
        tables.push(write_rows(snapshot, &statement, &table.folder, &mut tar).await?);
    }
    let summary = Summary { users, tables };
    append(&mut tar, SUMMARY_FILE, &json(serde_json::to_vec(&summary))?).await?;
    let bytes = tar.finish().await.map_err(ArchiveError::Write)?;
    Ok(ArchiveContents::new(tenant, manifest, &summary, bytes))
}

async fn create_manifest(
    snapshot: &mut PgConnection,
    tenant: &SchemaName,
    now: Timestamp,
) -> Result<Manifest, ArchiveError> {
    let postgresql = sqlx::query_scalar("SELECT current_setting('server_version')")
        .fetch_one(&mut *snapshot)
        .await?;
    Ok(Manifest {
        format: FORMAT_VERSION,
        program: concat!("tenant-orders ", env!("CARGO_PKG_VERSION")).to_owned(),
        exported_at: now.to_string(),
        postgresql,
        tenant: tenant.as_str().to_owned(),
        migrations: definition::read_migrations(snapshot, tenant).await?,
        users: definition::read_columns(snapshot, "public", "users").await?,
        tables: definition::read_tables(snapshot, tenant).await?,
        grants: grants::read_grants(snapshot, tenant).await?,
        left_out: definition::left_out_objects(snapshot, tenant).await?,
    })
}

/// Writes the files before the rows, starting with their checksums.
async fn write_preamble(
    snapshot: &mut PgConnection,
    tenant: &SchemaName,
    manifest: &Manifest,
    tar: &mut TarWriter<impl AsyncWrite + Unpin>,
) -> Result<(), ArchiveError> {
    let (tables, keys) = definition::read_statements(snapshot, tenant).await?;
    let files = [
        (MANIFEST_FILE, json(serde_json::to_vec_pretty(manifest))?),
        (TABLES_FILE, tables.into_bytes()),
        (KEYS_FILE, keys.into_bytes()),
    ];
    let checksums: String = files
        .iter()
        .map(|(path, content)| checksum_line(path, content))
        .collect();
    append(tar, CHECKSUMS_FILE, checksums.as_bytes()).await?;
    for (path, content) in &files {
        append(tar, path, content).await?;
    }
    Ok(())
}

/// Writes the rows that `statement` copies to the files of `folder`.
async fn write_rows(
    snapshot: &mut PgConnection,
    statement: &GeneratedSql,
    folder: &str,
    tar: &mut TarWriter<impl AsyncWrite + Unpin>,
) -> Result<RowsSummary, ArchiveError> {
    let mut rows = snapshot.copy_out_raw(statement.as_str()).await?;
    let mut digest = RowDigest::default();
    let mut content = Vec::with_capacity(ROWS_FILE_BYTES);
    let mut number = 1;
    loop {
        let row = rows.try_next().await?;
        content.extend_from_slice(row.as_deref().unwrap_or_default());
        if content.len() >= ROWS_FILE_BYTES || (row.is_none() && !content.is_empty()) {
            digest.update(&content);
            append(tar, &rows_file(folder, number), &content).await?;
            number += 1;
            content.clear();
        }
        if row.is_none() {
            return Ok(digest.finish());
        }
    }
}

async fn append(
    tar: &mut TarWriter<impl AsyncWrite + Unpin>,
    path: &str,
    content: &[u8],
) -> Result<(), ArchiveError> {
    tar.append(path, content).await.map_err(ArchiveError::Write)
}

fn json(serialized: serde_json::Result<Vec<u8>>) -> Result<Vec<u8>, ArchiveError> {
    serialized.map_err(|error| ArchiveError::Write(error.into()))
}
