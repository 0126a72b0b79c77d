//! Imports that fail and leave nothing behind.

use tenant_orders::admin::AdminError;
use tenant_orders::admin::archive::ArchiveError;

use super::{build_archive, export, files, forget, import, import_as, replace_in};
use crate::existing_database::everything;
use crate::support::TestDatabase;

#[tokio::test]
async fn import_never_overwrites_a_schema() {
    let database = TestDatabase::demo().await;
    let (_, file) = export(&database, "client1").await.unwrap();
    let before = everything(&database).await;
    for refused in [
        import(&database, &file).await,
        import_as(&database, &file, "client2", true).await,
    ] {
        assert!(
            matches!(refused, Err(ArchiveError::SchemaExists(_))),
            "{refused:?}"
        );
    }
    assert_eq!(everything(&database).await, before);
    let missing = export(&database, "missing").await;
    assert!(
        matches!(missing, Err(ArchiveError::Admin(AdminError::NoSuchSchema))),
        "{missing:?}"
    );
}

#[tokio::test]
async fn import_rejects_newer_and_damaged_archives() {
    let database = TestDatabase::demo().await;
    let (_, file) = export(&database, "client1").await.unwrap();
    forget(&database, "client1").await;
    let before = everything(&database).await;
    let one = files(&file)[1].1.clone();
    let one = String::from_utf8(one).unwrap();
    let (_, checksum) = one.split_once("\"checksum\": \"").unwrap();
    let checksum = &checksum[..96];
    for (archive, message) in [
        (
            replace_in(
                &file,
                "manifest.json",
                "\"format\": 1",
                "\"what\": \"is new\", \"format\": 2",
            ),
            "unsupported archive format: 2; import it with a newer version of this program",
        ),
        (
            replace_in(&file, "manifest.json", "\"version\": 3", "\"version\": 9000"),
            "migration 9000 is unknown: a newer version of this program, or another folder, applied it",
        ),
        (
            replace_in(&file, "manifest.json", checksum, &"0".repeat(96)),
            "migration 1 (items and orders) was changed after it was applied",
        ),
        (
            replace_in(
                &file,
                "manifest.json",
                "\"tenant\": \"client1\"",
                "\"tenant\": \"pg_catalog\"",
            ),
            "the schema name \"pg_catalog\" is reserved",
        ),
        (
            replace_in(&file, "manifest.json", "\"grants\"", "\"grunts\""),
            "the archive is damaged: manifest.json is malformed: missing field `grants`",
        ),
        (
            replace_in(&file, "tables/2-items/000001.copy", "2\t\\N\tHuawei\t2000\n", ""),
            "the archive is damaged: tables/2-items has 1 rows, expected 2",
        ),
        (
            replace_in(&file, "tables/2-items/000001.copy", "Huawei", "Hawaii"),
            "the archive is damaged: the checksum of tables/2-items does not match",
        ),
        (
            replace_in(&file, "users/000001.copy", "rich_dude\t", "rich_dude"),
            "the archive is damaged: the checksum of users does not match",
        ),
        (
            build_archive(
                files(&file)
                    .into_iter()
                    .filter(|(path, _)| path != "users/000001.copy")
                    .collect(),
            ),
            "the archive is damaged: users has 0 rows, expected 1",
        ),
        (
            build_archive(
                files(&file)
                    .into_iter()
                    .filter(|(path, _)| path != "summary.json")
                    .collect(),
            ),
            "the archive is damaged: summary.json is missing",
        ),
        (
            [&file[..], b"\n"].concat(),
            "the archive is damaged: unexpected data after its end",
        ),
        (
            b"SHA256SUMS".repeat(100),
            "the file is not an archive of a tenant",
        ),
        (other_tar(), "the file is not an archive of a tenant"),
        (Vec::new(), "the archive is truncated"),
    ] {
        let refused = import(&database, &archive).await.unwrap_err();
        assert!(refused.to_string().starts_with(message), "{refused}\n{message}");
    }
    assert_eq!(everything(&database).await, before);
    import(&database, &file).await.unwrap();
}

/// Returns a tar file that is not an archive of a tenant.
fn other_tar() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(1);
    header.set_cksum();
    archive.append_data(&mut header, "letter.txt", &b"x"[..]).unwrap();
    archive.into_inner().unwrap()
}

#[tokio::test]
async fn import_reports_an_encoding_that_lacks_a_character() {
    let database = TestDatabase::demo_with("UPDATE client1.items SET description = '名前'").await;
    let (_, file) = export(&database, "client1").await.unwrap();
    let other = TestDatabase::latin1_with(include_str!("../../../migrations/shared/0001_users.sql")).await;
    let refused = import(&other, &file).await;
    assert!(matches!(refused, Err(ArchiveError::Rows(_))), "{refused:?}");
    assert_eq!(
        other
            .text("SELECT count(*)::text FROM pg_namespace WHERE nspname = 'client1'")
            .await,
        "0"
    );
}
