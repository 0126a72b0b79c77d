//! What is not exported, what is not imported, and that nothing is left of either.

use tenant_orders::admin::AdminError;
use tenant_orders::admin::archive::ArchiveError;

use super::{archive_of, changed, export, files, forget, import, import_as};
use crate::existing_database::everything;
use crate::support::TestDatabase;

#[tokio::test]
async fn what_an_archive_cannot_hold_is_refused_by_name() {
    let database = TestDatabase::demo().await;
    database
        .execute("CREATE TYPE public.elsewhere AS ENUM ('a')")
        .await;
    for (statements, named) in [
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
            "table typed, which is made of a type",
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
            "CREATE TABLE client1.pg_class (i int)",
            "pg_class, whose name is a system table's",
        ),
    ] {
        let database = TestDatabase::demo().await;
        database.execute(statements).await;
        let refused = export(&database, "client1").await.unwrap_err();
        let told = format!("an archive cannot hold: {named}");
        assert!(refused.to_string().starts_with(&told), "{refused}\n{told}");
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

    // Where what it needs is missing, nothing is left of the attempt.
    let other = TestDatabase::demo().await;
    forget(&other, "client1").await;
    let before = everything(&other).await;
    let refused = import(&other, &file).await;
    assert!(matches!(refused, Err(ArchiveError::Tables(_))), "{refused:?}");
    assert_eq!(everything(&other).await, before);
}

#[tokio::test]
async fn what_has_no_rows_is_left_out_and_told_by_both_sides() {
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
             CREATE RULE ignored AS ON UPDATE TO client1.items DO INSTEAD NOTHING",
        )
        .await;
    let left_out = [
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

/// Rows that a policy hides are no reason to leave them out without a word.
#[tokio::test]
async fn rows_that_are_hidden_from_the_role_are_not_left_out_but_an_error() {
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
async fn what_is_there_is_not_overwritten() {
    let database = TestDatabase::demo().await;
    let (_, file) = export(&database, "client1").await.unwrap();
    let before = everything(&database).await;
    for refused in [
        import(&database, &file).await,
        import_as(&database, &file, "client2", true).await,
    ] {
        assert!(matches!(refused, Err(ArchiveError::Exists(_))), "{refused:?}");
    }
    assert_eq!(everything(&database).await, before);
    let missing = export(&database, "nobody").await;
    assert!(
        matches!(missing, Err(ArchiveError::Admin(AdminError::NoSuchSchema))),
        "{missing:?}"
    );
}

#[tokio::test]
async fn what_a_newer_program_wrote_or_somebody_changed_is_refused_by_name() {
    let database = TestDatabase::demo().await;
    let (_, file) = export(&database, "client1").await.unwrap();
    forget(&database, "client1").await;
    let before = everything(&database).await;
    let one = files(&file)[1].1.clone();
    let one = String::from_utf8(one).unwrap();
    let (_, checksum) = one.split_once("\"checksum\": \"").unwrap();
    let checksum = &checksum[..96];
    for (changed, told) in [
        (
            changed(
                &file,
                "manifest.json",
                "\"format\": 1",
                "\"what\": \"is new\", \"format\": 2",
            ),
            "the archive has format 2, which only a newer version of this program reads",
        ),
        (
            changed(&file, "manifest.json", "\"version\": 2", "\"version\": 9000"),
            "migration 9000 was applied by a newer version of this program",
        ),
        (
            changed(&file, "manifest.json", checksum, &"0".repeat(96)),
            "migration 1 (items and orders) was changed after it had been applied",
        ),
        (
            changed(
                &file,
                "manifest.json",
                "\"tenant\": \"client1\"",
                "\"tenant\": \"pg_catalog\"",
            ),
            "the schema name \"pg_catalog\" is not a tenant's: it is reserved",
        ),
        (
            changed(&file, "manifest.json", "\"grants\"", "\"grunts\""),
            "the archive is damaged: manifest.json makes no sense: missing field `grants`",
        ),
        (
            changed(&file, "tables/2-items/000001.copy", "2\t\\N\tHuawei\t2000\n", ""),
            "the archive is damaged: tables/2-items has 1 rows where 2 were written",
        ),
        (
            changed(&file, "tables/2-items/000001.copy", "Huawei", "Hawaii"),
            "the archive is damaged: the checksum of tables/2-items does not match",
        ),
        (
            changed(&file, "users/000001.copy", "rich_dude\t", "rich_dude"),
            "the archive is damaged: the checksum of users does not match",
        ),
        (
            archive_of(
                files(&file)
                    .into_iter()
                    .filter(|(path, _)| path != "users/000001.copy")
                    .collect(),
            ),
            "the archive is damaged: users has 0 rows where 1 were written",
        ),
        (
            archive_of(
                files(&file)
                    .into_iter()
                    .filter(|(path, _)| path != "summary.json")
                    .collect(),
            ),
            "the archive is damaged: it has no summary.json",
        ),
        (
            [&file[..], b"\n"].concat(),
            "the archive is damaged: something is behind its end",
        ),
        (b"SHA256SUMS".repeat(100), "this is no archive of a tenant"),
        (archive_of_one(), "this is no archive of a tenant"),
        (Vec::new(), "the archive is cut short: its end is missing"),
    ] {
        let refused = import(&database, &changed).await.unwrap_err();
        assert!(refused.to_string().starts_with(told), "{refused}\n{told}");
    }
    assert_eq!(everything(&database).await, before);
    import(&database, &file).await.unwrap();
}

/// A tar of something else.
fn archive_of_one() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(1);
    header.set_cksum();
    archive.append_data(&mut header, "letter.txt", &b"x"[..]).unwrap();
    archive.into_inner().unwrap()
}

/// An encoding may lack what the archive holds: then it is not the archive that is damaged.
#[tokio::test]
async fn a_database_that_cannot_hold_the_rows_is_told_as_the_reason() {
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
