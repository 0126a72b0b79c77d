//! Exports and imports that fail, and leave nothing behind.

use tenant_orders::admin::AdminError;
use tenant_orders::admin::archive::ArchiveError;

use super::{build_archive, export, files, forget, import, import_as, replace_in};
use crate::existing_database::everything;
use crate::support::TestDatabase;

#[tokio::test]
async fn export_names_unsupported_objects() {
    let database = TestDatabase::demo().await;
    database
        .execute("CREATE TYPE public.elsewhere AS ENUM ('a')")
        .await;
    for (statements, objects) in [
        (
            "CREATE TABLE client1.p (i int) PARTITION BY LIST (i); CREATE TABLE client1.p1 PARTITION OF client1.p DEFAULT",
            "partitioned table p; table p1, which inherits or is inherited from",
        ),
        (
            "CREATE TABLE client1.child () INHERITS (client1.items)",
            "table child, which inherits or is inherited from; table items, which inherits or is inherited from",
        ),
        (
            "CREATE TYPE client1.mood AS ENUM ('sad'); ALTER TABLE client1.items ADD a client1.mood, ADD b client1.mood[]",
            "column a of table items, which needs type mood; column b of table items, which needs type mood[]",
        ),
        (
            "CREATE DOMAIN client1.dom AS int; CREATE TABLE client1.d (at int, d client1.dom)",
            "column d of table d, which needs type dom",
        ),
        (
            "CREATE TABLE client1.rows (i client1.items)",
            "column i of table rows, which needs type items",
        ),
        (
            "CREATE TYPE client1.made_of AS (a int); CREATE TABLE client1.typed OF client1.made_of",
            "table typed, which needs type made_of; typed table typed",
        ),
        (
            "CREATE FUNCTION client1.f(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1';
             CREATE INDEX by_f ON client1.items (client1.f(description))",
            "index by_f, which needs function f(text)",
        ),
        (
            "CREATE FUNCTION client1.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
             ALTER TABLE client1.orders ALTER quantity SET DEFAULT client1.f(), ADD CONSTRAINT c CHECK (quantity > client1.f())",
            "constraint c on table orders, which needs function f(); \
             default value for column quantity of table orders, which needs function f()",
        ),
        (
            "CREATE SEQUENCE client2.numbers; ALTER TABLE client1.orders ADD n bigint DEFAULT nextval('client2.numbers')",
            "default value for column n of table orders, which needs sequence client2.numbers",
        ),
        (
            "CREATE TYPE client2.mood AS ENUM ('sad'); ALTER TABLE client1.items ADD mood client2.mood",
            "column mood of table items, which needs type client2.mood",
        ),
        (
            "ALTER TABLE client1.orders ADD CONSTRAINT clone FOREIGN KEY (item_id) REFERENCES client2.items",
            "constraint clone on table orders, which needs table client2.items",
        ),
        (
            "CREATE TABLE client1.pg_class (i int)",
            "pg_class, which has the name of a system catalog",
        ),
    ] {
        let database = TestDatabase::demo().await;
        database.execute(statements).await;
        let refused = export(&database, "client1").await.unwrap_err();
        let message = format!("an archive cannot hold: {objects}");
        assert!(refused.to_string().starts_with(&message), "{refused}\n{message}");
    }
    database
        .execute(
            "ALTER TABLE client1.items ADD a public.elsewhere DEFAULT 'a';
             CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 7';
             ALTER TABLE client1.orders ALTER quantity SET DEFAULT public.f()",
        )
        .await;
    let (_, file) = export(&database, "client1").await.unwrap();
    forget(&database, "client1").await;
    import(&database, &file).await.unwrap();
    database
        .execute("INSERT INTO client1.orders (id) VALUES ('x')")
        .await;
    assert_eq!(
        database
            .text("SELECT quantity::text FROM client1.orders WHERE id = 'x'")
            .await,
        "7"
    );

    // The type is missing in the other database: the import fails and leaves nothing behind.
    let other = TestDatabase::demo().await;
    forget(&other, "client1").await;
    let before = everything(&other).await;
    let refused = import(&other, &file).await;
    assert!(matches!(refused, Err(ArchiveError::Tables(_))), "{refused:?}");
    assert_eq!(everything(&other).await, before);
}

#[tokio::test]
async fn export_and_import_report_skipped_objects() {
    let database = TestDatabase::demo().await;
    database
        .execute(
            "CREATE VIEW client1.dear AS SELECT * FROM client1.items WHERE price > 1000;
             CREATE MATERIALIZED VIEW client1.counted AS SELECT count(*) FROM client1.items;
             CREATE FUNCTION client1.audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER audited BEFORE INSERT ON client1.items FOR EACH ROW EXECUTE FUNCTION client1.audit();
             CREATE TYPE client1.unused AS ENUM ('a');
             CREATE POLICY own ON client1.orders USING (true);
             ALTER TABLE client1.orders ENABLE ROW LEVEL SECURITY;
             GRANT SELECT (id) ON client1.items TO PUBLIC;
             CREATE RULE ignored AS ON UPDATE TO client1.items DO INSTEAD NOTHING;
             CREATE EXTENSION citext SCHEMA client1",
        )
        .await;
    let left_out = [
        "extension citext",
        "function audit()",
        "materialized view counted",
        "policy own on table orders",
        "privileges on single columns of table items",
        "row security of table orders",
        "rule ignored on table items",
        "trigger audited on table items",
        "type unused",
        "view dear",
    ];
    let (exported, file) = export(&database, "client1").await.unwrap();
    assert_eq!(exported.left_out, left_out);
    forget(&database, "client1").await;
    assert_eq!(import(&database, &file).await.unwrap().left_out, left_out);
    let (exported, _) = export(&database, "client1").await.unwrap();
    assert_eq!(exported.left_out, Vec::<String>::new());
}

#[tokio::test]
async fn export_reports_a_history_and_users_that_prevent_an_import() {
    let database = TestDatabase::demo().await;
    database
        .execute(
            "INSERT INTO client1._tenant_orders_migrations VALUES (9, 'of another program', now(), true, 'x', 0);
             UPDATE public.users SET organization_id = 'client2' WHERE id = '1'",
        )
        .await;
    let (exported, _) = export(&database, "client1").await.unwrap();
    assert_eq!(
        exported.left_out,
        [
            "1 user of other organizations that table orders refers to",
            "a migration history that an import accepts: migration 9 is unknown: \
             a newer version of this program, or another folder, applied it"
        ]
    );
}

#[tokio::test]
async fn privileges_and_constraints_of_newer_servers_are_reported() {
    let database = TestDatabase::demo().await;
    let version = database.server_version().await;
    database
        .execute(
            "DO $$ BEGIN CREATE ROLE archive_maintainer; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
             GRANT ALL ON client1.items TO archive_maintainer",
        )
        .await;
    if version >= 18 {
        database
            .execute(
                "INSERT INTO client1.items (id) VALUES ('without a description');
                 ALTER TABLE client1.items ADD CONSTRAINT described NOT NULL description NOT VALID",
            )
            .await;
    }
    let (exported, mut file) = export(&database, "client1").await.unwrap();
    let invalid = (version >= 18).then_some("constraint described on table items");
    assert_eq!(exported.left_out, Vec::from_iter(invalid));
    if version < 17 {
        file = replace_in(
            &file,
            "manifest.json",
            "\"DELETE, INSERT,",
            "\"DELETE, INSERT, MAINTAIN,",
        );
    }
    forget(&database, "client1").await;
    let imported = import(&database, &file).await.unwrap();
    let unknown = "MAINTAIN on table items for role archive_maintainer, which this PostgreSQL lacks";
    let unknown = (version < 17).then_some(unknown);
    assert_eq!(
        imported.left_out,
        invalid.into_iter().chain(unknown).collect::<Vec<_>>()
    );
    assert_eq!(
        database
            .text("SELECT has_table_privilege('archive_maintainer', 'client1.items', 'INSERT')::text")
            .await,
        "true"
    );
}

#[tokio::test]
async fn export_fails_if_row_level_security_hides_rows() {
    let database = TestDatabase::demo().await;
    database
        .execute(
            "CREATE ROLE archive_hidden LOGIN; GRANT USAGE ON SCHEMA client1 TO archive_hidden;
             GRANT SELECT ON ALL TABLES IN SCHEMA client1 TO archive_hidden; GRANT SELECT ON public.users TO archive_hidden;
             CREATE POLICY many ON client1.orders USING (quantity > 5); ALTER TABLE client1.orders ENABLE ROW LEVEL SECURITY",
        )
        .await;
    let url = database.url_as("archive_hidden");
    let as_role =
        tenant_orders::admin::AdminDatabase::new(&tenant_orders::config::DatabaseUrl::from(url)).unwrap();
    let mut file = Vec::new();
    let refused = tenant_orders::admin::archive::export(&as_role, &super::name("client1"), &mut file).await;
    let refused = refused.unwrap_err();
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(cause.contains("row-level security policy"), "{refused}: {cause}");
}

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
    let database = TestDatabase::demo().await;
    database
        .execute("UPDATE client1.items SET description = '名前'")
        .await;
    let (_, file) = export(&database, "client1").await.unwrap();
    let other = TestDatabase::latin1().await;
    other
        .execute(include_str!("../../../migrations/shared/0001_users.sql"))
        .await;
    let refused = import(&other, &file).await;
    assert!(matches!(refused, Err(ArchiveError::Rows(_))), "{refused:?}");
    assert_eq!(
        other
            .text("SELECT count(*)::text FROM pg_namespace WHERE nspname = 'client1'")
            .await,
        "0"
    );
}
