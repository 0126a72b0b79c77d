//! Failures that a dry run predicts. Each is compared with the run.

use super::folder::{folder_with, run_with};
use super::run;
use crate::support::TestDatabase;

const TYPE: &str = "ALTER TABLE items ALTER description TYPE text;";

/// Asserts that a migration fails in client1 alone, after `objects` were created there, as the dry run predicts.
async fn assert_fails(objects: &str, migration: &str, reason: &str) {
    let database = TestDatabase::demo_with(format!("SET search_path TO client1; {objects}")).await;
    let folder = folder_with(&[("tenant/0004_change.sql", migration)]);
    for arguments in [&["migrate", "--dry-run"][..], &["migrate", "--retries", "0"]] {
        let (status, output, errors) = run_with(&database, &folder, arguments);
        assert_eq!(status, Some(1), "{migration}: {output}");
        assert!(
            errors.contains("1 of 2 tenants failed: client1"),
            "{migration}: {errors}"
        );
        if arguments.contains(&"--dry-run") {
            let reason = format!("client1: error: a migration would fail: migration 4 (change): {reason}\n");
            assert!(errors.contains(&reason), "{migration}: {errors}");
        }
    }
}

#[tokio::test]
async fn a_name_that_is_taken_is_predicted() {
    for (objects, migration, reason) in [
        (
            "CREATE TABLE notes ()",
            "CREATE TABLE Notes (id bigint)",
            "table notes exists already",
        ),
        (
            "CREATE VIEW notes AS SELECT 1 AS one",
            "CREATE TABLE notes AS SELECT 1 AS one",
            "view notes exists already",
        ),
        (
            "CREATE TABLE \"Notes\" ()",
            "CREATE VIEW \"Notes\" AS SELECT 1 AS one",
            "table Notes exists already",
        ),
        (
            "CREATE SEQUENCE notes",
            "CREATE MATERIALIZED VIEW notes AS SELECT 1 AS one",
            "sequence notes exists already",
        ),
        (
            "CREATE INDEX prices ON items (price)",
            "CREATE INDEX prices ON items (price)",
            "index prices exists already",
        ),
        (
            "CREATE INDEX prices ON items (price)",
            "-- no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY prices ON items (price)",
            "index prices exists already",
        ),
        (
            "CREATE TYPE status AS ENUM ('new')",
            "CREATE TYPE status AS ENUM ('old')",
            "type status exists already",
        ),
        (
            "CREATE DOMAIN status AS text",
            "CREATE TABLE status (id bigint)",
            "type status exists already",
        ),
        (
            "CREATE TABLE status ()",
            "CREATE DOMAIN status AS text",
            "type status exists already",
        ),
        (
            "ALTER TABLE orders ADD CONSTRAINT positive CHECK (quantity > 0)",
            "ALTER TABLE orders ADD CONSTRAINT positive CHECK (quantity >= 0) NOT VALID",
            "constraint orders.positive exists already",
        ),
        (
            "CREATE INDEX one ON items (id)",
            "ALTER TABLE items ADD CONSTRAINT one UNIQUE (id)",
            "index one exists already",
        ),
        (
            "ALTER TABLE items ADD note text",
            "ALTER TABLE items ADD note text",
            "column items.note exists already",
        ),
        (
            "CREATE POLICY mine ON items USING (true)",
            "CREATE POLICY mine ON items USING (false)",
            "policy items.mine exists already",
        ),
        (
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER note AFTER INSERT ON items FOR EACH ROW EXECUTE FUNCTION note()",
            "CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER note AFTER INSERT ON items FOR EACH ROW EXECUTE FUNCTION note()",
            "trigger items.note exists already",
        ),
        (
            "CREATE FUNCTION note() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE FUNCTION note() RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
            "function note() exists already",
        ),
        (
            "CREATE FUNCTION note(integer, OUT text, VARIADIC float8[]) LANGUAGE sql AS 'SELECT 1::text'",
            "CREATE FUNCTION note(a int, VARIADIC b double precision[]) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "function note(integer, double precision[]) exists already",
        ),
        (
            "CREATE PROCEDURE note(varchar) LANGUAGE sql AS 'SELECT 1'",
            "CREATE PROCEDURE note(IN character varying(9) DEFAULT '') LANGUAGE sql AS 'SELECT 1'",
            "function note(character varying) exists already",
        ),
    ] {
        assert_fails(objects, migration, reason).await;
    }
}

#[tokio::test]
async fn objects_that_depend_on_a_column_are_predicted() {
    let function = "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';";
    let mut cases = vec![
        (
            "CREATE VIEW names AS SELECT description FROM items".to_owned(),
            "view names",
        ),
        (
            "CREATE MATERIALIZED VIEW names AS SELECT description FROM items".to_owned(),
            "view names",
        ),
        (
            "CREATE RULE named AS ON INSERT TO orders WHERE EXISTS (SELECT FROM items WHERE description = '') DO NOTHING"
                .to_owned(),
            "rule named",
        ),
        (
            format!("{function} CREATE TRIGGER note AFTER UPDATE OF description ON items FOR EACH ROW EXECUTE FUNCTION note()"),
            "trigger note",
        ),
        (
            "CREATE POLICY named ON items USING (description <> '')".to_owned(),
            "policy named",
        ),
        (
            "ALTER TABLE items ADD long text GENERATED ALWAYS AS (description || '!') STORED".to_owned(),
            "generated column long",
        ),
    ];
    let version = TestDatabase::empty().await.server_version().await;
    if version >= 14 {
        cases.push((
            "CREATE FUNCTION names() RETURNS SETOF varchar LANGUAGE sql BEGIN ATOMIC SELECT description FROM items; END"
                .to_owned(),
            "function names",
        ));
    }
    if version >= 15 {
        cases.push((
            "CREATE PUBLICATION named FOR TABLE items (id, description)".to_owned(),
            "publication named",
        ));
        cases.push((
            "CREATE PUBLICATION named FOR TABLE items WHERE (description <> '')".to_owned(),
            "publication named",
        ));
    }
    for (objects, dependent) in cases {
        let reason = format!("the type of items.description cannot change: {dependent} depends on it");
        assert_fails(&objects, TYPE, &reason).await;
    }
}

#[tokio::test]
async fn the_conversion_of_a_generated_column_is_predicted() {
    assert_fails(
        "ALTER TABLE items ADD long text GENERATED ALWAYS AS (upper(id)) STORED; ALTER TABLE client2.items ADD long text",
        "ALTER TABLE items ALTER long TYPE varchar USING long::varchar",
        "the type of items.long cannot change with USING: the column is generated",
    )
    .await;
}

#[tokio::test]
async fn the_types_of_inherited_and_partition_columns_are_predicted() {
    let replace = "ALTER TABLE orders RENAME TO old; ALTER INDEX orders_user_id_idx RENAME TO old_idx;";
    for (objects, migration, reason) in [
        (
            "CREATE TABLE parent (description varchar); ALTER TABLE items INHERIT parent",
            TYPE,
            "the type of items.description cannot change: the column is inherited",
        ),
        (
            "CREATE TABLE orders (LIKE old) PARTITION BY HASH (item_id)",
            "ALTER TABLE orders ALTER item_id TYPE text",
            "the type of orders.item_id cannot change: the column is in the partition key",
        ),
        (
            "CREATE TABLE orders (LIKE old) PARTITION BY HASH (id);
             CREATE TABLE part PARTITION OF orders FOR VALUES WITH (MODULUS 1, REMAINDER 0);
             CREATE VIEW listed AS SELECT item_id FROM part",
            "ALTER TABLE orders ALTER item_id TYPE text",
            "the type of part.item_id cannot change: view listed depends on it",
        ),
    ] {
        let objects = if objects.contains("LIKE old") {
            format!("{replace} {objects}")
        } else {
            objects.to_owned()
        };
        assert_fails(&objects, migration, reason).await;
    }
}

#[tokio::test]
async fn migrations_that_succeed_are_not_predicted_to_fail() {
    let objects =
        "CREATE TABLE notes (id bigint); CREATE INDEX prices ON items (price); CREATE SEQUENCE numbers;
        CREATE VIEW names AS SELECT description FROM items; CREATE TYPE status AS ENUM ('new');
        ALTER TABLE items ADD note text DEFAULT '', ADD CONSTRAINT cheap CHECK (price < 1000000),
            ADD CONSTRAINT named CHECK (description <> ''); CREATE INDEX described ON items (description);
        CREATE STATISTICS described_statistics ON description, price FROM items;
        CREATE FUNCTION note(text) RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE TABLE public.elsewhere ()";
    for migration in [
        "CREATE FUNCTION note(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE OR REPLACE FUNCTION note(text) RETURNS int LANGUAGE sql AS 'SELECT 2';
         CREATE FUNCTION note(status) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP FUNCTION note(text); CREATE FUNCTION note(text) RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
        "CREATE TABLE IF NOT EXISTS notes (id bigint); CREATE INDEX IF NOT EXISTS prices ON items (price);
         ALTER TABLE items ADD COLUMN IF NOT EXISTS note text; CREATE SEQUENCE IF NOT EXISTS numbers;
         CREATE OR REPLACE VIEW names AS SELECT description FROM items",
        "DROP TABLE notes; CREATE TABLE notes (id text)",
        "ALTER TABLE notes RENAME TO old_notes; CREATE TABLE notes (id text)",
        "ALTER INDEX prices RENAME TO old_prices; CREATE INDEX prices ON items (price)",
        "ALTER TABLE items DROP CONSTRAINT cheap; ALTER TABLE items ADD CONSTRAINT cheap CHECK (price < 9000000)",
        "DROP VIEW names; ALTER TABLE items ALTER description TYPE text;
         CREATE VIEW names AS SELECT description FROM items",
        "DROP VIEW names; ALTER TABLE items DROP note; ALTER TABLE items ADD note varchar",
        "DO $$ BEGIN DROP VIEW names; END $$; ALTER TABLE items ALTER description TYPE text",
        "DROP TYPE status CASCADE; CREATE TYPE status AS ENUM ('old')",
        "CREATE TABLE elsewhere ()",
        "CREATE INDEX ON items (price); ALTER TABLE items ADD CHECK (price > -1)",
        // Neither its own default nor its indexes and constraints prevent a new type.
        "ALTER TABLE items ALTER note TYPE varchar, ALTER price TYPE numeric(20, 2)",
    ] {
        let database = TestDatabase::demo().await;
        let both = ["client1", "client2"].map(|schema| format!("SET search_path TO {schema}; {objects};"));
        let objects = both.concat().replacen("CREATE TABLE public.elsewhere ()", "", 1);
        database.execute(objects).await;
        let folder = folder_with(&[("tenant/0004_change.sql", migration)]);
        for dry_run in [&["--dry-run"][..], &[]] {
            let arguments = [&["migrate", "--allow-hazards"], dry_run].concat();
            let (status, output, errors) = run_with(&database, &folder, &arguments);
            assert_eq!(
                (status, errors.as_str()),
                (Some(0), ""),
                "{migration} {dry_run:?}: {output}"
            );
        }
    }
}

#[tokio::test]
async fn failures_of_shared_migrations_are_predicted() {
    let database = TestDatabase::demo_with("CREATE TABLE public.regions ()").await;
    let regions = "CREATE TABLE public.regions (id bigint)";
    let folder = folder_with(&[("shared/0002_regions.sql", regions)]);
    let (status, _, errors) = run_with(&database, &folder, &["migrate", "--dry-run"]);
    assert_eq!(status, Some(1));
    let reason = "error: a migration would fail: migration 2 (regions): table regions exists already\n";
    assert!(errors.contains(reason), "{errors}");
}

#[tokio::test]
async fn a_renamed_index_of_an_adopted_tenant_is_not_in_the_way() {
    let database =
        TestDatabase::existing_with("CREATE INDEX orders_user_id_idx ON client1.orders (user_id)").await;
    for arguments in [&["migrate", "--adopt", "--dry-run"][..], &["migrate", "--adopt"]] {
        let (status, output, errors) = run(&database, arguments);
        assert_eq!((status, errors.as_str()), (Some(0), ""), "{output}");
    }
}
