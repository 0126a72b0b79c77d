//! Objects that an archive cannot hold: the export fails, or reports them.

use tenant_orders::admin::archive::ArchiveError;

use super::{export, forget, import, replace_in};
use crate::existing_database::everything;
use crate::support::TestDatabase;

#[tokio::test]
async fn export_names_unsupported_objects() {
    let database = TestDatabase::demo_with("CREATE TYPE public.elsewhere AS ENUM ('a')").await;
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
        let database = TestDatabase::demo_with(statements).await;
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
    let database = TestDatabase::demo_with(
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
    let database = TestDatabase::demo_with(
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
             a newer version of this program, or another folder, applied it; use that one"
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
    let database = TestDatabase::demo_with(
        "CREATE ROLE archive_hidden LOGIN; GRANT USAGE ON SCHEMA client1 TO archive_hidden;
         GRANT SELECT ON ALL TABLES IN SCHEMA client1 TO archive_hidden; GRANT SELECT ON public.users TO archive_hidden;
         CREATE POLICY many ON client1.orders USING (quantity > 5); ALTER TABLE client1.orders ENABLE ROW LEVEL SECURITY",
    ).await;
    let url = database.url_as("archive_hidden");
    let as_role =
        tenant_orders::admin::AdminDatabase::new(&tenant_orders::config::DatabaseUrl::from(url)).unwrap();
    let mut file = Vec::new();
    let refused = tenant_orders::admin::archive::export(&as_role, &super::name("client1"), &mut file).await;
    let refused = refused.unwrap_err();
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(cause.contains("row-level security policy"), "{refused}: {cause}");
}
