//! From an archive to a tenant.

use data_encoding::HEXLOWER;
use serde::Deserialize;
use sqlx::{Connection, PgConnection};
use tokio::io::AsyncRead;

use super::format::{
    CHECKSUMS, FORMAT, KEYS, MANIFEST, Manifest, Migration, RowDigest, SUMMARY, Summary, Sums, TABLES, USERS,
    checksum_line, rows_file,
};
use super::tar_stream::TarReader;
use super::{ArchiveError, Contents, grants, prepare, users};
use crate::admin::AdminError;
use crate::admin::migrations::AppliedMigration;
use crate::admin::migrations::source::Migrations;
use crate::admin::{advisory_lock, database::AdminDatabase, generated_sql::GeneratedSql, schema};
use crate::admin::{citus, roles};
use crate::config::RoleSettings;
use crate::tenancy::{DatabaseError, SchemaName};

/// Files that have to be in memory are refused where they are longer.
const MOST: usize = 64 * 1024 * 1024;

const COPY_TABLE: &str = "SELECT format('COPY %I FROM STDIN', $1)";

const ANALYZE_TABLE: &str = "SELECT format('ANALYZE %I', $1)";

/// How an archive is to be imported.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The name of the new schema; without one, that of the tenant that was exported.
    pub name: Option<SchemaName>,
    /// Leaves the archive's users out: those that its orders name must be there.
    pub without_users: bool,
}

/// Makes the tenant that an archive holds, in one transaction: all of it or nothing. Nothing is
/// overwritten. Memory does not depend on how large the archive is. An archive holds SQL, which is run:
/// it is trusted.
///
/// Dropping the future before it has come back leaves nothing.
///
/// # Errors
///
/// [`ArchiveError`], above all where the archive is not whole.
pub async fn import(
    database: &AdminDatabase,
    from: impl AsyncRead + Unpin + Send,
    options: &ImportOptions,
) -> Result<Contents, ArchiveError> {
    let mut tar = TarReader::open(from).await?;
    let head = Head::read(&mut tar).await?;
    let migrations = head.manifest.migrations.as_deref().unwrap_or_default();
    refuse_unknown(&database.migrations().tenant, migrations)?;
    let tenant = match &options.name {
        Some(name) => name.clone(),
        None => SchemaName::parse(&head.manifest.tenant)?,
    };
    let mut connection = database.connect().await?;
    advisory_lock::lock(&mut connection, tenant.as_str()).await?;
    if schema::exists(&mut connection, &tenant).await? {
        return Err(ArchiveError::Exists(tenant.as_str().to_owned()));
    }
    let mut transaction = connection.begin().await?;
    citus::create_schema(&mut transaction, &tenant).await?;
    schema::set_search_path(&mut transaction, &tenant).await?;
    prepare(&mut transaction).await?;
    let contents = fill(&mut transaction, &tenant, head, tar, options, database.roles()).await?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(contents)
}

/// What comes before the data, checked.
struct Head {
    manifest: Manifest,
    tables: GeneratedSql,
    keys: GeneratedSql,
}

#[derive(Deserialize)]
struct Format {
    format: u64,
}

impl Head {
    async fn read(tar: &mut TarReader<impl AsyncRead + Unpin>) -> Result<Self, ArchiveError> {
        if tar.path() != Some(CHECKSUMS) {
            return Err(ArchiveError::NoArchive);
        }
        let checksums = text(CHECKSUMS, tar.whole(CHECKSUMS, MOST).await?)?;
        let manifest = checked(tar, MANIFEST, &checksums).await?;
        let Format { format } = parse(MANIFEST, &manifest)?;
        if format > FORMAT.into() {
            return Err(ArchiveError::NewerFormat(format));
        }
        Ok(Self {
            manifest: parse(MANIFEST, &manifest)?,
            tables: GeneratedSql::from_archive(checked(tar, TABLES, &checksums).await?),
            keys: GeneratedSql::from_archive(checked(tar, KEYS, &checksums).await?),
        })
    }
}

async fn checked(
    tar: &mut TarReader<impl AsyncRead + Unpin>,
    path: &str,
    checksums: &str,
) -> Result<String, ArchiveError> {
    let content = tar.whole(path, MOST).await?;
    if !checksums.contains(&checksum_line(path, &content)) {
        return Err(ArchiveError::wrong_checksum(path));
    }
    text(path, content)
}

fn text(path: &str, content: Vec<u8>) -> Result<String, ArchiveError> {
    String::from_utf8(content).map_err(|error| ArchiveError::unintelligible(path, &error))
}

fn parse<'de, T: Deserialize<'de>>(path: &str, json: &'de str) -> Result<T, ArchiveError> {
    serde_json::from_str(json).map_err(|error| ArchiveError::unintelligible(path, &error))
}

/// Refuses migrations that are not among those that are compiled in. Whether one was applied to its end
/// is no matter: it comes back as it was.
fn refuse_unknown(known: &Migrations, migrations: &[Migration]) -> Result<(), ArchiveError> {
    let history: Result<Vec<_>, _> = migrations.iter().map(AppliedMigration::try_from).collect();
    known.pending(&history?).map_err(AdminError::from)?;
    Ok(())
}

impl TryFrom<&Migration> for AppliedMigration {
    type Error = ArchiveError;

    fn try_from(migration: &Migration) -> Result<Self, ArchiveError> {
        let checksum = HEXLOWER.decode(migration.checksum.as_bytes());
        Ok(Self {
            version: migration.version,
            checksum: checksum.map_err(|error| ArchiveError::unintelligible(MANIFEST, &error))?,
            success: true,
        })
    }
}

/// Fills the new schema, which the search path names.
async fn fill(
    transaction: &mut PgConnection,
    tenant: &SchemaName,
    head: Head,
    tar: TarReader<impl AsyncRead + Unpin + Send>,
    options: &ImportOptions,
    role_settings: &RoleSettings,
) -> Result<Contents, ArchiveError> {
    let Head {
        manifest,
        tables,
        keys,
    } = head;
    let is_citus = citus::is_there(transaction).await?;
    run(transaction, tables, is_citus)
        .await
        .map_err(ArchiveError::Tables)?;
    if !options.without_users {
        users::stage(transaction, &manifest.users).await?;
    }
    let mut loading = Loading { tar, failure: None };
    let copy_users = (!options.without_users).then_some(users::COPY_IN);
    let mut found = Summary {
        users: loading.load(transaction, USERS, copy_users).await?,
        tables: Vec::with_capacity(manifest.tables.len()),
    };
    for table in &manifest.tables {
        // After a failure the transaction is over.
        let copy = match loading.failure {
            Some(_) => None,
            None => {
                Some(GeneratedSql::fetch_one(transaction, sqlx::query(COPY_TABLE).bind(&table.name)).await?)
            }
        };
        let sums = loading.load(transaction, &table.folder, copy.as_ref().map(GeneratedSql::text));
        found.tables.push(sums.await?);
    }
    let bytes = loading.finish(&manifest, &found).await?;
    if options.without_users {
        found.users.rows = 0;
    } else {
        users::take_over(transaction, tenant, &manifest.users).await?;
    }
    run(transaction, keys, is_citus)
        .await
        .map_err(ArchiveError::Keys)?;
    if role_settings.are_on() {
        roles::ensure(transaction, tenant, role_settings).await?;
    }
    let not_granted = grants::grant(transaction, tenant, &manifest).await?;
    for table in &manifest.tables {
        let analyze = sqlx::query(ANALYZE_TABLE).bind(&table.name);
        GeneratedSql::fetch_one(transaction, analyze)
            .await?
            .run(transaction)
            .await?;
    }
    let mut contents = Contents::new(tenant, manifest, &found, bytes);
    contents.left_out.extend(not_granted);
    Ok(contents)
}

async fn run(
    transaction: &mut PgConnection,
    statements: GeneratedSql,
    is_citus: bool,
) -> Result<(), DatabaseError> {
    if is_citus {
        citus::run(transaction, statements).await
    } else {
        statements.run(transaction).await
    }
}

/// Rows on their way from the archive into tables.
struct Loading<R> {
    tar: TarReader<R>,
    /// Why the database did not take rows. It is told at the end, and only where the archive turns out to
    /// be whole: else it is the damage that has to be told.
    failure: Option<DatabaseError>,
}

impl<R: AsyncRead + Unpin + Send> Loading<R> {
    /// Reads the rows in a folder, and copies them where there is a statement for it.
    async fn load(
        &mut self,
        connection: &mut PgConnection,
        folder: &str,
        statement: Option<&str>,
    ) -> Result<Sums, ArchiveError> {
        let mut copy = match statement {
            Some(statement) => Some(connection.copy_in_raw(statement).await?),
            None => None,
        };
        let mut tally = RowDigest::default();
        let mut number = 1;
        while self.tar.path() == Some(&rows_file(folder, number)) {
            while let Some(piece) = self.tar.piece().await? {
                tally.add(piece);
                if let Some(copy) = &mut copy {
                    copy.send(piece).await?;
                }
            }
            number += 1;
        }
        if let Some(copy) = copy
            && let Err(error) = copy.finish().await
        {
            self.failure = Some(error.into());
        }
        Ok(tally.sums())
    }

    /// Checks that the archive ends here, and that what was found is all that it had; how long it is.
    async fn finish(mut self, manifest: &Manifest, found: &Summary) -> Result<u64, ArchiveError> {
        let summary = text(SUMMARY, self.tar.whole(SUMMARY, MOST).await?)?;
        if let Some(more) = self.tar.path() {
            return Err(ArchiveError::Damaged(format!("{more} is behind its end")));
        }
        let expected: Summary = parse(SUMMARY, &summary)?;
        expected.users.compare(&found.users, USERS)?;
        if expected.tables.len() != found.tables.len() {
            return Err(ArchiveError::wrong_checksum(SUMMARY));
        }
        let tables = expected.tables.iter().zip(&found.tables).zip(&manifest.tables);
        for ((expected, found), table) in tables {
            expected.compare(found, &table.folder)?;
        }
        match self.failure {
            Some(failure) => Err(ArchiveError::Rows(failure)),
            None => Ok(self.tar.bytes()),
        }
    }
}

impl Sums {
    fn compare(&self, found: &Self, folder: &str) -> Result<(), ArchiveError> {
        if self.rows != found.rows {
            let (expected, found) = (self.rows, found.rows);
            return Err(ArchiveError::Damaged(format!(
                "{folder} has {found} rows where {expected} were written"
            )));
        }
        if self != found {
            return Err(ArchiveError::wrong_checksum(folder));
        }
        Ok(())
    }
}
