//! A tenant as a file: that it comes back as it was, from one moment, whole or not at all.

mod by_hand;
mod command;
mod refusals;
mod round_trip;
mod snapshot;

use std::process::Command;

use sha2::{Digest, Sha256};
use tar::{Archive, Builder, EntryType, Header};
use tempfile::TempDir;
use tenant_orders::admin::AdminDatabase;
use tenant_orders::admin::archive::{self, ArchiveError, Contents, ImportOptions};
use tenant_orders::config::DatabaseUrl;
use tenant_orders::tenancy::SchemaName;

use crate::support::{ServiceProcess, TestDatabase, shared_cluster};

pub(crate) fn administration(database: &TestDatabase) -> AdminDatabase {
    AdminDatabase::new(&DatabaseUrl::from(database.url())).unwrap()
}

pub(crate) fn name(tenant: &str) -> SchemaName {
    SchemaName::parse(tenant).unwrap()
}

pub(crate) async fn export(
    database: &TestDatabase,
    tenant: &str,
) -> Result<(Contents, Vec<u8>), ArchiveError> {
    let mut file = Vec::new();
    let contents = archive::export(&administration(database), &name(tenant), &mut file).await?;
    Ok((contents, file))
}

pub(crate) async fn import(database: &TestDatabase, file: &[u8]) -> Result<Contents, ArchiveError> {
    archive::import(&administration(database), file, &ImportOptions::default()).await
}

async fn import_as(
    database: &TestDatabase,
    file: &[u8],
    tenant: &str,
    without_users: bool,
) -> Result<Contents, ArchiveError> {
    let options = ImportOptions {
        name: Some(name(tenant)),
        without_users,
    };
    archive::import(&administration(database), file, &options).await
}

/// Removes the tenant and its users, as if neither had ever been.
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

/// All that `pg_dump` knows of a schema and of the users, privileges included.
fn dump(database: &TestDatabase, tenant: &str) -> String {
    let of = |arguments: &[&str]| {
        let dumped = Command::new(shared_cluster().program("pg_dump"))
            .args(arguments)
            .arg(format!("--dbname={}", database.url()))
            .output()
            .unwrap();
        assert!(
            dumped.status.success(),
            "{}",
            String::from_utf8_lossy(&dumped.stderr)
        );
        String::from_utf8(dumped.stdout).unwrap()
    };
    let tenant = of(&["--strict-names", "--schema", &name(tenant).quoted()]);
    let users = of(&["--table=public.users"]);
    // The order of rows in a shared table is nobody's.
    let mut users: Vec<_> = users.lines().collect();
    users.sort_unstable();
    // A key that is made anew for each dump, against text that psql would take for a command.
    let lines = tenant
        .lines()
        .chain(users)
        .filter(|line| !line.contains("restrict "));
    lines.collect::<Vec<_>>().join("\n")
}

/// The files in an archive.
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

/// An archive of these files, with checksums that fit what is in front of the data.
fn archive_of(mut files: Vec<(String, Vec<u8>)>) -> Vec<u8> {
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

/// The same archive with another text in one of its files.
fn changed(archive: &[u8], path: &str, from: &str, to: &str) -> Vec<u8> {
    let mut files = files(archive);
    let (_, content) = files.iter_mut().find(|(file, _)| file == path).unwrap();
    let text = String::from_utf8(content.clone()).unwrap();
    assert!(text.contains(from), "{text}");
    *content = text.replace(from, to).into_bytes();
    archive_of(files)
}

/// The program, in a folder of its own.
fn command(database: &TestDatabase, folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = ServiceProcess::command();
    command
        .args(["tenants"])
        .args(arguments)
        .current_dir(folder)
        .env("DATABASE_URL", database.url());
    command
}
