//! From a tenant to an archive.

use futures_util::TryStreamExt;
use jiff::Timestamp;
use sqlx::{Connection, PgConnection};
use tokio::io::AsyncWrite;

use super::format::{
    CHECKSUMS, FORMAT, KEYS, MANIFEST, Manifest, RowDigest, SUMMARY, Summary, Sums, TABLES, USERS,
    checksum_line, rows_file,
};
use super::tar_stream::TarWriter;
use super::{ArchiveError, Contents, definition, grants, prepare, users};
use crate::admin::AdminError;
use crate::admin::{advisory_lock, database::AdminDatabase, generated_sql::GeneratedSql, schema};
use crate::tenancy::SchemaName;

/// A file of rows is closed when it has so many bytes: its length stands in front of it, so it has to
/// be in memory.
const FULL: usize = 4 * 1024 * 1024;

const LOCKS: &str = "
    SELECT format('LOCK TABLE %I.%I IN ACCESS SHARE MODE', n.nspname, c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname = $1 OR c.oid = 'public.users'::regclass
    ORDER BY n.nspname, c.relname";

const COPY_TABLE: &str = "SELECT format('COPY %I TO STDOUT', $1)";

/// Writes the tenant, its users included, as they are at one moment. Memory does not depend on how
/// large the tenant is. While it runs, migrations of this tenant wait, and so does all that alters its
/// tables; reading and writing go on.
///
/// What was written is an archive when this has come back: what is cut off before, by an error or by
/// dropping the future, is refused by [`super::import`].
///
/// # Errors
///
/// [`ArchiveError`], as where the tenant has what an archive cannot hold.
pub async fn export(
    database: &AdminDatabase,
    tenant: &SchemaName,
    to: impl AsyncWrite + Unpin + Send,
) -> Result<Contents, ArchiveError> {
    let mut connection = database.connect().await?;
    // Migrations take this lock too, and so do not begin: they would wait for the locks of the tables
    // below, and every reader of these tables behind them.
    advisory_lock::lock(&mut connection, tenant.as_str()).await?;
    if !schema::exists(&mut connection, tenant).await? {
        return Err(AdminError::NoSuchSchema.into());
    }
    schema::set_search_path(&mut connection, tenant).await?;
    prepare(&mut connection).await?;
    let locks = locks(&mut connection, tenant).await?;
    // Neither BEGIN nor LOCK takes the snapshot, but the first query does. It has to be behind the
    // locks: a table that somebody rewrites after the snapshot was taken is empty in it (PostgreSQL
    // manual, section 13.6).
    let mut snapshot = connection
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    for lock in locks.clone() {
        lock.run(&mut snapshot).await?;
    }
    if self::locks(&mut snapshot, tenant).await? != locks {
        return Err(ArchiveError::BeingChanged);
    }
    let contents = write(&mut snapshot, tenant, to).await?;
    snapshot.rollback().await?;
    connection.close().await?;
    Ok(contents)
}

async fn locks(
    connection: &mut PgConnection,
    tenant: &SchemaName,
) -> Result<Vec<GeneratedSql>, ArchiveError> {
    Ok(GeneratedSql::fetch(connection, sqlx::query(LOCKS).bind(tenant.as_str())).await?)
}

async fn write(
    snapshot: &mut PgConnection,
    tenant: &SchemaName,
    to: impl AsyncWrite + Unpin + Send,
) -> Result<Contents, ArchiveError> {
    let obstacles = definition::obstacles(snapshot, tenant).await?;
    if !obstacles.is_empty() {
        return Err(ArchiveError::Obstacles(obstacles));
    }
    let now = Timestamp::now();
    let manifest = manifest(snapshot, tenant, now).await?;
    let mut tar = TarWriter::new(to, u64::try_from(now.as_second()).unwrap_or_default());
    head(snapshot, tenant, &manifest, &mut tar).await?;
    let statement = users::copy_out(snapshot, tenant, &manifest.users).await?;
    let users = copy(snapshot, &statement, USERS, &mut tar).await?;
    let mut tables = Vec::with_capacity(manifest.tables.len());
    for table in &manifest.tables {
        let statement = GeneratedSql::fetch_one(snapshot, sqlx::query(COPY_TABLE).bind(&table.name)).await?;
        tables.push(copy(snapshot, &statement, &table.folder, &mut tar).await?);
    }
    let summary = Summary { users, tables };
    append(&mut tar, SUMMARY, &json(serde_json::to_vec(&summary))?).await?;
    let bytes = tar.finish().await.map_err(ArchiveError::Write)?;
    Ok(Contents::new(tenant, manifest, &summary, bytes))
}

async fn manifest(
    snapshot: &mut PgConnection,
    tenant: &SchemaName,
    now: Timestamp,
) -> Result<Manifest, ArchiveError> {
    let postgresql = sqlx::query_scalar("SELECT current_setting('server_version')")
        .fetch_one(&mut *snapshot)
        .await?;
    Ok(Manifest {
        format: FORMAT,
        program: concat!("tenant-orders ", env!("CARGO_PKG_VERSION")).to_owned(),
        exported_at: now.to_string(),
        postgresql,
        tenant: tenant.as_str().to_owned(),
        migrations: definition::migrations(snapshot, tenant).await?,
        users: definition::columns(snapshot, "public", "users").await?,
        tables: definition::tables(snapshot, tenant).await?,
        grants: grants::read(snapshot, tenant).await?,
        left_out: definition::left_out(snapshot, tenant).await?,
    })
}

/// Writes what comes before the data, and first of all its checksums.
async fn head(
    snapshot: &mut PgConnection,
    tenant: &SchemaName,
    manifest: &Manifest,
    tar: &mut TarWriter<impl AsyncWrite + Unpin>,
) -> Result<(), ArchiveError> {
    let (tables, keys) = definition::statements(snapshot, tenant).await?;
    let files = [
        (MANIFEST, json(serde_json::to_vec_pretty(manifest))?),
        (TABLES, tables.into_bytes()),
        (KEYS, keys.into_bytes()),
    ];
    let checksums: String = files
        .iter()
        .map(|(path, content)| checksum_line(path, content))
        .collect();
    append(tar, CHECKSUMS, checksums.as_bytes()).await?;
    for (path, content) in &files {
        append(tar, path, content).await?;
    }
    Ok(())
}

/// Writes the rows that `statement` copies, in as many files as it takes.
async fn copy(
    snapshot: &mut PgConnection,
    statement: &GeneratedSql,
    folder: &str,
    tar: &mut TarWriter<impl AsyncWrite + Unpin>,
) -> Result<Sums, ArchiveError> {
    let mut rows = snapshot.copy_out_raw(statement.text()).await?;
    let mut tally = RowDigest::default();
    let mut content = Vec::with_capacity(FULL);
    let mut number = 1;
    loop {
        let row = rows.try_next().await?;
        content.extend_from_slice(row.as_deref().unwrap_or_default());
        if content.len() >= FULL || (row.is_none() && !content.is_empty()) {
            tally.add(&content);
            append(tar, &rows_file(folder, number), &content).await?;
            number += 1;
            content.clear();
        }
        if row.is_none() {
            return Ok(tally.sums());
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

fn json(written: serde_json::Result<Vec<u8>>) -> Result<Vec<u8>, ArchiveError> {
    written.map_err(|error| ArchiveError::Write(error.into()))
}
