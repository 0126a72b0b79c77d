//! Writing a tenant to an archive.

use data_encoding::HEXLOWER;
use futures_util::TryStreamExt;
use jiff::Timestamp;
use sqlx::{Connection, PgConnection, raw_sql};
use tokio::io::AsyncWrite;

use super::format::{
    ArchiveContents, ArchivedMigration, CHECKSUMS_FILE, FORMAT_VERSION, KEYS_FILE, MANIFEST_FILE, Manifest,
    RowDigest, RowsSummary, SUMMARY_FILE, Summary, TABLES_FILE, USERS_FOLDER, checksum_line, rows_file,
};
use super::tar_stream::TarWriter;
use super::{ArchiveError, definition, grants, users};
use crate::admin::migrations::history::{self, MigratedSchema};
use crate::admin::migrations::source::{AppliedMigration, Migrations};
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
    // Rows are archived in the order in which they are stored.
    raw_sql("SET synchronize_seqscans TO off")
        .execute(&mut connection)
        .await?;
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
    let statements = sqlx::query_scalar(LOCK_STATEMENTS).bind(tenant.as_str());
    Ok(statements.fetch_all(connection).await?)
}

async fn write_archive(
    snapshot: &mut PgConnection,
    tenant: &SchemaName,
    known: &Migrations,
    to: impl AsyncWrite + Unpin + Send,
) -> Result<ArchiveContents, ArchiveError> {
    let unsupported = definition::read_texts(snapshot, definition::UNSUPPORTED, tenant).await?;
    if !unsupported.is_empty() {
        return Err(ArchiveError::Unsupported(unsupported));
    }
    let now = Timestamp::now();
    let mut manifest = create_manifest(snapshot, tenant, now).await?;
    manifest
        .left_out
        .extend(users::describe_other_users(snapshot, tenant).await?);
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
        let statement = sqlx::query_scalar(COPY_STATEMENT).bind(&table.name);
        let statement = statement.fetch_one(&mut *snapshot).await?;
        tables.push(write_rows(snapshot, &statement, &table.folder, &mut tar).await?);
    }
    let summary = Summary { users, tables };
    tar.append(SUMMARY_FILE, &json(serde_json::to_vec(&summary))?)
        .await?;
    let bytes = tar.finish().await?;
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
    let history = history::read(snapshot, MigratedSchema::Tenant(tenant)).await?;
    let archived = |applied: &AppliedMigration| ArchivedMigration {
        version: applied.version,
        checksum: HEXLOWER.encode(&applied.checksum),
    };
    Ok(Manifest {
        format: FORMAT_VERSION,
        program: concat!("tenant-orders ", env!("CARGO_PKG_VERSION")).to_owned(),
        exported_at: now.to_string(),
        postgresql,
        tenant: tenant.as_str().to_owned(),
        migrations: history.map(|history| history.applied.iter().map(archived).collect()),
        users: definition::read_columns(snapshot, "public", "users").await?,
        tables: definition::read_tables(snapshot, tenant).await?,
        grants: grants::read_grants(snapshot, tenant).await?,
        left_out: definition::read_texts(snapshot, definition::LEFT_OUT, tenant).await?,
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
    tar.append(CHECKSUMS_FILE, checksums.as_bytes()).await?;
    for (path, content) in &files {
        tar.append(path, content).await?;
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
            tar.append(&rows_file(folder, number), &content).await?;
            number += 1;
            content.clear();
        }
        if row.is_none() {
            return Ok(digest.finish());
        }
    }
}

fn json(serialized: serde_json::Result<Vec<u8>>) -> Result<Vec<u8>, ArchiveError> {
    serialized.map_err(|error| ArchiveError::Write(error.into()))
}
