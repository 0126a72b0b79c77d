//! Creating a tenant from an archive.

use data_encoding::HEXLOWER;
use serde::Deserialize;
use sqlx::{Connection, PgConnection};
use tokio::io::AsyncRead;

use super::format::{
    ArchivedMigration, CHECKSUMS_FILE, FORMAT_VERSION, KEYS_FILE, MANIFEST_FILE, Manifest, RowDigest,
    RowsSummary, SUMMARY_FILE, Summary, TABLES_FILE, USERS_FOLDER, checksum_line, rows_file,
};
use super::tar_stream::TarReader;
use super::{ArchiveContents, ArchiveError, configure_session, grants, users};
use crate::admin::migrations::TENANT;
use crate::admin::{
    advisory_lock, database::AdminDatabase, generated_sql::GeneratedSql, history::AppliedMigration, schema,
};
use crate::admin::{citus, tenants::roles};
use crate::config::RoleSettings;
use crate::tenancy::{DatabaseError, SchemaName};

/// Maximum size of a file that is held in memory.
const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;

const COPY_STATEMENT: &str = "SELECT format('COPY %I FROM STDIN', $1)";

const ANALYZE_STATEMENT: &str = "SELECT format('ANALYZE %I', $1)";

/// Options of an import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Name of the new schema; defaults to the name of the exported tenant.
    pub name: Option<SchemaName>,
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
    let preamble = Preamble::read(&mut tar).await?;
    refuse_unknown_migrations(preamble.manifest.migrations.as_deref().unwrap_or_default())?;
    let tenant = match &options.name {
        Some(name) => name.clone(),
        None => SchemaName::parse(&preamble.manifest.tenant)?,
    };
    let mut connection = database.connect().await?;
    advisory_lock::lock(&mut connection, tenant.as_str()).await?;
    if schema::exists(&mut connection, &tenant).await? {
        return Err(ArchiveError::SchemaExists(tenant.as_str().to_owned()));
    }
    let mut transaction = connection.begin().await?;
    citus::create_schema(&mut transaction, &tenant).await?;
    schema::set_search_path(&mut transaction, &tenant).await?;
    configure_session(&mut transaction).await?;
    let contents = restore(
        &mut transaction,
        &tenant,
        preamble,
        tar,
        options,
        database.roles(),
    )
    .await?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(contents)
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
    async fn read(tar: &mut TarReader<impl AsyncRead + Unpin>) -> Result<Self, ArchiveError> {
        if tar.path() != Some(CHECKSUMS_FILE) {
            return Err(ArchiveError::NotAnArchive);
        }
        let checksums = parse_text(
            CHECKSUMS_FILE,
            tar.read_file(CHECKSUMS_FILE, MAX_FILE_BYTES).await?,
        )?;
        let manifest = read_verified(tar, MANIFEST_FILE, &checksums).await?;
        let FormatVersion { format } = parse_json(MANIFEST_FILE, &manifest)?;
        if format > FORMAT_VERSION.into() {
            return Err(ArchiveError::NewerFormat(format));
        }
        Ok(Self {
            manifest: parse_json(MANIFEST_FILE, &manifest)?,
            tables: GeneratedSql::from_archive(read_verified(tar, TABLES_FILE, &checksums).await?),
            keys: GeneratedSql::from_archive(read_verified(tar, KEYS_FILE, &checksums).await?),
        })
    }
}

async fn read_verified(
    tar: &mut TarReader<impl AsyncRead + Unpin>,
    path: &str,
    checksums: &str,
) -> Result<String, ArchiveError> {
    let content = tar.read_file(path, MAX_FILE_BYTES).await?;
    if !checksums.contains(&checksum_line(path, &content)) {
        return Err(ArchiveError::wrong_checksum(path));
    }
    parse_text(path, content)
}

fn parse_text(path: &str, content: Vec<u8>) -> Result<String, ArchiveError> {
    String::from_utf8(content).map_err(|error| ArchiveError::malformed(path, &error))
}

fn parse_json<'de, T: Deserialize<'de>>(path: &str, json: &'de str) -> Result<T, ArchiveError> {
    serde_json::from_str(json).map_err(|error| ArchiveError::malformed(path, &error))
}

/// Fails if one of the migrations is not compiled in. Failed migrations are accepted, and restored as failed.
fn refuse_unknown_migrations(migrations: &[ArchivedMigration]) -> Result<(), ArchiveError> {
    let history: Result<Vec<_>, _> = migrations.iter().map(AppliedMigration::try_from).collect();
    TENANT.pending(&history?)?;
    Ok(())
}

impl TryFrom<&ArchivedMigration> for AppliedMigration {
    type Error = ArchiveError;

    fn try_from(migration: &ArchivedMigration) -> Result<Self, ArchiveError> {
        let checksum = HEXLOWER.decode(migration.checksum.as_bytes());
        Ok(Self {
            version: migration.version,
            checksum: checksum.map_err(|error| ArchiveError::malformed(MANIFEST_FILE, &error))?,
            success: true,
        })
    }
}

/// Restores tables, rows, users, keys and grants into the new schema, which is first in the search path.
async fn restore(
    transaction: &mut PgConnection,
    tenant: &SchemaName,
    preamble: Preamble,
    tar: TarReader<impl AsyncRead + Unpin + Send>,
    options: &ImportOptions,
    role_settings: &RoleSettings,
) -> Result<ArchiveContents, ArchiveError> {
    let Preamble {
        manifest,
        tables,
        keys,
    } = preamble;
    let is_citus = citus::is_installed(transaction).await?;
    execute(transaction, tables, is_citus)
        .await
        .map_err(ArchiveError::Tables)?;
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
            None => Some(
                GeneratedSql::fetch_one(transaction, sqlx::query(COPY_STATEMENT).bind(&table.name)).await?,
            ),
        };
        let loaded = loader.load(
            transaction,
            &table.folder,
            copy.as_ref().map(GeneratedSql::as_str),
        );
        found.tables.push(loaded.await?);
    }
    let bytes = loader.finish(&manifest, &found).await?;
    if options.without_users {
        found.users.rows = 0;
    } else {
        users::insert_staged(transaction, tenant, &manifest.users).await?;
    }
    execute(transaction, keys, is_citus)
        .await
        .map_err(ArchiveError::Keys)?;
    if role_settings.are_on() {
        roles::ensure(transaction, tenant, role_settings).await?;
    }
    let not_granted = grants::restore_grants(transaction, tenant, &manifest).await?;
    for table in &manifest.tables {
        let analyze = sqlx::query(ANALYZE_STATEMENT).bind(&table.name);
        GeneratedSql::fetch_one(transaction, analyze)
            .await?
            .run(transaction)
            .await?;
    }
    let mut contents = ArchiveContents::new(tenant, manifest, &found, bytes);
    contents.left_out.extend(not_granted);
    Ok(contents)
}

async fn execute(
    transaction: &mut PgConnection,
    statements: GeneratedSql,
    is_citus: bool,
) -> Result<(), DatabaseError> {
    if is_citus {
        citus::run_separately(transaction, statements).await
    } else {
        statements.run(transaction).await
    }
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
        let summary = parse_text(
            SUMMARY_FILE,
            self.tar.read_file(SUMMARY_FILE, MAX_FILE_BYTES).await?,
        )?;
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
