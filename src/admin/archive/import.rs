//! Creating a tenant from an archive.

use serde::Deserialize;
use sqlx::{Connection, PgConnection};
use tokio::io::AsyncRead;

use super::format::{
    ArchiveContents, ArchivedTable, CHECKSUMS_FILE, FORMAT_VERSION, KEYS_FILE, MANIFEST_FILE, Manifest,
    RowDigest, RowsSummary, SUMMARY_FILE, Summary, TABLES_FILE, USERS_FOLDER, checksum_line, rows_file,
};
use super::tar_stream::TarReader;
use super::{ArchiveError, grants, users};
use crate::admin::migrations::source::Migrations;
use crate::admin::{
    advisory_lock, citus, database::AdminDatabase, generated_sql::GeneratedSql, schema, tenants::roles,
};
use crate::tenancy::{DatabaseError, SchemaName};

const COPY_STATEMENT: &str = "SELECT format('COPY %I FROM STDIN', $1)";

const ANALYZE_STATEMENT: &str = "SELECT format('ANALYZE %I', $1)";

/// Options of an import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Name of the new schema; defaults to the name of the exported tenant.
    pub name: Option<String>,
    /// Skips the users of the archive. The users of its orders must exist.
    pub without_users: bool,
}

/// Creates the archived tenant in one transaction and constant memory. Nothing is overwritten. The archive must
/// be trusted, since it contains SQL that is executed.
///
/// After an error, or if the future is dropped, nothing remains.
///
/// # Errors
///
/// [`ArchiveError`], for example if the archive is incomplete.
pub async fn import(
    database: &AdminDatabase,
    from: impl AsyncRead + Unpin + Send,
    options: &ImportOptions,
) -> Result<ArchiveContents, ArchiveError> {
    let mut tar = TarReader::open(from).await?;
    let preamble = Preamble::read(&mut tar, &database.migrations().tenant).await?;
    let name = options.name.as_deref().unwrap_or(&preamble.manifest.tenant);
    let tenant = database.schema_name(name).await?;
    let mut connection = database.connect().await?;
    advisory_lock::lock(&mut connection, tenant.as_str()).await?;
    if schema::exists(&mut connection, &tenant).await? {
        return Err(ArchiveError::SchemaExists(tenant.as_str().to_owned()));
    }
    let mut transaction = connection.begin().await?;
    citus::create_schema(&mut transaction, &tenant).await?;
    schema::set_search_path(&mut transaction, &tenant).await?;
    let contents = restore(&mut transaction, database, &tenant, preamble, tar, options).await?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(contents)
}

/// Restores tables, rows, users, keys and grants into the new schema, which is first in the search path.
async fn restore(
    transaction: &mut PgConnection,
    database: &AdminDatabase,
    tenant: &SchemaName,
    preamble: Preamble,
    tar: TarReader<impl AsyncRead + Unpin + Send>,
    options: &ImportOptions,
) -> Result<ArchiveContents, ArchiveError> {
    let Preamble {
        manifest,
        tables,
        keys,
    } = preamble;
    let is_citus = citus::is_installed(transaction).await?;
    let created = tables.run_on(transaction, is_citus).await;
    created.map_err(|error| ArchiveError::Tables(error.into()))?;
    if !options.without_users {
        users::create_staging_table(transaction, tenant, &manifest.users).await?;
    }
    let mut loader = RowLoader { tar, failure: None };
    let copy_users = (!options.without_users).then_some(users::COPY_IN);
    let mut found = Summary {
        users: loader.load(transaction, USERS_FOLDER, copy_users).await?,
        tables: Vec::with_capacity(manifest.tables.len()),
    };
    for table in &manifest.tables {
        // After a failed COPY the transaction is aborted: the rest of the archive is only verified.
        let copy = match loader.failure {
            Some(_) => None,
            None => Some(generate(transaction, COPY_STATEMENT, table).await?),
        };
        let copy = copy.as_ref().map(GeneratedSql::as_str);
        let summary = loader.load(transaction, &table.folder, copy).await?;
        found.tables.push(summary);
    }
    let bytes = loader.finish(&manifest, &found).await?;
    if options.without_users {
        found.users.rows = 0;
    } else {
        users::insert_staged(transaction, tenant, &manifest.users).await?;
    }
    let created = keys.run_on(transaction, is_citus).await;
    created.map_err(|error| ArchiveError::Keys(error.into()))?;
    if database.roles().is_enabled() {
        roles::ensure(transaction, tenant, database.roles()).await?;
    }
    let not_granted = grants::restore_grants(transaction, tenant, &manifest).await?;
    for table in &manifest.tables {
        let analyze = generate(transaction, ANALYZE_STATEMENT, table).await?;
        analyze.run(transaction).await?;
    }
    let mut contents = ArchiveContents::new(tenant, manifest, &found, bytes);
    contents.left_out.extend(not_granted);
    Ok(contents)
}

/// Returns the statement that `query` generates for a table.
async fn generate(
    transaction: &mut PgConnection,
    query: &'static str,
    table: &ArchivedTable,
) -> Result<GeneratedSql, ArchiveError> {
    let query = sqlx::query_scalar(query).bind(&table.name);
    Ok(query.fetch_one(transaction).await?)
}

/// Loads rows from the archive into tables.
struct RowLoader<R> {
    tar: TarReader<R>,
    /// Error of the first failed COPY. It is returned once the rest of the archive is verified: if the archive is
    /// damaged, the damage is reported instead.
    failure: Option<DatabaseError>,
}

impl<R: AsyncRead + Unpin + Send> RowLoader<R> {
    /// Reads the rows of a folder, and copies them if there is a statement.
    async fn load(
        &mut self,
        connection: &mut PgConnection,
        folder: &str,
        statement: Option<&str>,
    ) -> Result<RowsSummary, ArchiveError> {
        let mut copy = match statement {
            Some(statement) => Some(connection.copy_in_raw(statement).await?),
            None => None,
        };
        let mut digest = RowDigest::default();
        let mut number = 1;
        while self.tar.path() == Some(&rows_file(folder, number)) {
            while let Some(chunk) = self.tar.read_chunk().await? {
                digest.update(chunk);
                if let Some(copy) = &mut copy {
                    copy.send(chunk).await?;
                }
            }
            number += 1;
        }
        if let Some(copy) = copy
            && let Err(error) = copy.finish().await
        {
            self.failure = Some(error.into());
        }
        Ok(digest.finish())
    }

    /// Verifies that the archive ends here and that its summary matches `found`. Returns its length in bytes.
    async fn finish(mut self, manifest: &Manifest, found: &Summary) -> Result<u64, ArchiveError> {
        let summary = self.tar.read_text(SUMMARY_FILE).await?;
        if let Some(path) = self.tar.path() {
            return Err(ArchiveError::Damaged(format!(
                "unexpected file after {SUMMARY_FILE}: {path}"
            )));
        }
        let expected: Summary = parse_json(SUMMARY_FILE, &summary)?;
        expected.users.verify(&found.users, USERS_FOLDER)?;
        if expected.tables.len() != found.tables.len() {
            return Err(ArchiveError::wrong_checksum(SUMMARY_FILE));
        }
        let tables = expected.tables.iter().zip(&found.tables).zip(&manifest.tables);
        for ((expected, found), table) in tables {
            expected.verify(found, &table.folder)?;
        }
        match self.failure {
            Some(failure) => Err(ArchiveError::Rows(failure)),
            None => Ok(self.tar.bytes()),
        }
    }
}

impl RowsSummary {
    fn verify(&self, found: &Self, folder: &str) -> Result<(), ArchiveError> {
        if self.rows != found.rows {
            let (expected, found) = (self.rows, found.rows);
            return Err(ArchiveError::Damaged(format!(
                "{folder} has {found} rows, expected {expected}"
            )));
        }
        if self != found {
            return Err(ArchiveError::wrong_checksum(folder));
        }
        Ok(())
    }
}

/// Files before the rows, with verified checksums.
struct Preamble {
    manifest: Manifest,
    tables: GeneratedSql,
    keys: GeneratedSql,
}

#[derive(Deserialize)]
struct FormatVersion {
    format: u64,
}

impl Preamble {
    /// Reads the files, and fails if a checksum does not match, or if the format is unknown or a migration is
    /// not among the `known` ones.
    async fn read(
        tar: &mut TarReader<impl AsyncRead + Unpin>,
        known: &Migrations,
    ) -> Result<Self, ArchiveError> {
        if tar.path() != Some(CHECKSUMS_FILE) {
            return Err(ArchiveError::NotAnArchive);
        }
        let checksums = tar.read_text(CHECKSUMS_FILE).await?;
        let manifest = read_verified(tar, MANIFEST_FILE, &checksums).await?;
        let FormatVersion { format } = parse_json(MANIFEST_FILE, &manifest)?;
        if format > FORMAT_VERSION.into() {
            return Err(ArchiveError::NewerFormat(format));
        }
        let preamble = Self {
            manifest: parse_json(MANIFEST_FILE, &manifest)?,
            tables: GeneratedSql::from_archive(read_verified(tar, TABLES_FILE, &checksums).await?),
            keys: GeneratedSql::from_archive(read_verified(tar, KEYS_FILE, &checksums).await?),
        };
        preamble.manifest.check_migrations(known)?;
        Ok(preamble)
    }
}

async fn read_verified(
    tar: &mut TarReader<impl AsyncRead + Unpin>,
    path: &str,
    checksums: &str,
) -> Result<String, ArchiveError> {
    let content = tar.read_text(path).await?;
    if !checksums.contains(&checksum_line(path, content.as_bytes())) {
        return Err(ArchiveError::wrong_checksum(path));
    }
    Ok(content)
}

fn parse_json<'de, T: Deserialize<'de>>(path: &str, json: &'de str) -> Result<T, ArchiveError> {
    serde_json::from_str(json).map_err(|error| ArchiveError::malformed(path, &error))
}
