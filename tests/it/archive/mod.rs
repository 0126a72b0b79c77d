//! Export and import: archives restore a tenant completely, from one snapshot, or not at all.

mod by_hand;
mod command;
mod export_refusals;
mod import_refusals;
mod round_trip;
mod snapshot;

use std::process::Command;

use sha2::{Digest, Sha256};
use tar::{Archive, Builder, EntryType, Header};
use tempfile::TempDir;
use tenant_orders::admin::AdminDatabase;
use tenant_orders::admin::archive::{self, ArchiveContents, ArchiveError, ImportOptions};
use tenant_orders::config::DatabaseUrl;
use tenant_orders::tenancy::SchemaName;

use crate::support::{ServiceProcess, TestDatabase, shared_cluster};

pub(crate) fn admin_database(database: &TestDatabase) -> AdminDatabase {
    AdminDatabase::new(&DatabaseUrl::from(database.url())).unwrap()
}

pub(crate) fn name(tenant: &str) -> SchemaName {
    SchemaName::parse(tenant).unwrap()
}

pub(crate) async fn export(
    database: &TestDatabase,
    tenant: &str,
) -> Result<(ArchiveContents, Vec<u8>), ArchiveError> {
    let mut file = Vec::new();
    let contents = archive::export(&admin_database(database), &name(tenant), &mut file).await?;
    Ok((contents, file))
}

pub(crate) async fn import(database: &TestDatabase, file: &[u8]) -> Result<ArchiveContents, ArchiveError> {
    archive::import(&admin_database(database), file, &ImportOptions::default()).await
}

async fn import_as(
    database: &TestDatabase,
    file: &[u8],
    tenant: &str,
    without_users: bool,
) -> Result<ArchiveContents, ArchiveError> {
    let options = ImportOptions {
        name: Some(tenant.to_owned()),
        without_users,
    };
    archive::import(&admin_database(database), file, &options).await
}

/// Removes the tenant and its users.
pub(crate) async fn forget(database: &TestDatabase, tenant: &str) {
    drop_schema(database, tenant).await;
    let users = format!(
        "DELETE FROM public.users WHERE organization_id = '{}'",
        tenant.replace('\'', "''")
    );
    database.execute(users).await;
}

async fn drop_schema(database: &TestDatabase, tenant: &str) {
    let drop = format!("DROP SCHEMA {} CASCADE", name(tenant).quoted());
    database.execute(drop).await;
}

/// Returns the output of `pg_dump` for a schema and for the users, with privileges. It is empty if the server is
/// newer than the installed `pg_dump`, which refuses to read it.
fn dump(database: &TestDatabase, tenant: &str) -> String {
    let pg_dump = |arguments: &[&str]| {
        let dumped = Command::new(shared_cluster().program("pg_dump"))
            .args(arguments)
            .arg(format!("--dbname={}", database.url()))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&dumped.stderr);
        assert!(
            dumped.status.success() || errors.contains("aborting because of server version mismatch"),
            "{errors}"
        );
        String::from_utf8(dumped.stdout).unwrap()
    };
    let tenant = pg_dump(&["--strict-names", "--schema", &name(tenant).quoted()]);
    let users = pg_dump(&["--table=public.users"]);
    // The order of the rows in the shared table is undefined.
    let mut users: Vec<_> = users.lines().collect();
    users.sort_unstable();
    // pg_dump writes `\restrict` with a random key.
    let lines = tenant
        .lines()
        .chain(users)
        .filter(|line| !line.contains("restrict "));
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the paths and contents of the files in an archive.
fn files(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = Archive::new(archive);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            (
                String::from_utf8(entry.path_bytes().into_owned()).unwrap(),
                content,
            )
        })
        .collect()
}

/// Returns an archive of these files, with correct checksums of the files before the rows.
fn build_archive(mut files: Vec<(String, Vec<u8>)>) -> Vec<u8> {
    let lines = files[1..4].iter().map(|(path, content)| {
        let checksum = data_encoding::HEXLOWER.encode(&Sha256::digest(content));
        format!("{checksum}  {path}\n")
    });
    files[0].1 = lines.collect::<String>().into_bytes();
    let mut archive = Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = Header::new_ustar();
        header.set_path(path).unwrap();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        header.set_cksum();
        archive.append(&header, content.as_slice()).unwrap();
    }
    archive.into_inner().unwrap()
}

/// Returns the archive with `from` replaced by `to` in one of its files.
fn replace_in(archive: &[u8], path: &str, from: &str, to: &str) -> Vec<u8> {
    let mut files = files(archive);
    let (_, content) = files.iter_mut().find(|(file, _)| file == path).unwrap();
    let text = String::from_utf8(content.clone()).unwrap();
    assert!(text.contains(from), "{text}");
    *content = text.replace(from, to).into_bytes();
    build_archive(files)
}

/// Returns a `tenants` command that runs in `folder`.
fn command(database: &TestDatabase, folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = ServiceProcess::command();
    command
        .args(["tenants"])
        .args(arguments)
        .current_dir(folder)
        .env("DATABASE_URL", database.url());
    command
}
