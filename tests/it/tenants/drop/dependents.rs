//! Objects that depend on a tenant's, in each of PostgreSQL's catalogs.

use tenant_orders::admin::AdminDatabase;
use tenant_orders::admin::AdminError;
use tenant_orders::admin::tenants::DropError;
use tenant_orders::admin::tenants::drop::{RemainingUsers, drop_tenant};
use tenant_orders::config::DatabaseUrl;
use tenant_orders::tenancy::SchemaName;

use super::super::{assert_refused, catalog, tenants};
use super::demo_without_users_of_client1;
use crate::support::TestDatabase;

/// Statements that create a dependent outside `client1`, and PostgreSQL's description of it.
/// Objects in `client1` stay between the rows, `reporting` is recreated for each.
const DEPENDENTS: &[(&str, &str)] = &[
    (
        "CREATE VIEW reporting.sales AS SELECT o.id FROM client1.orders o UNION SELECT i.id FROM client2.items i",
        "view reporting.sales",
    ),
    (
        "CREATE MATERIALIZED VIEW reporting.totals AS SELECT count(*) FROM client1.orders",
        "materialized view reporting.totals",
    ),
    (
        "CREATE RULE also AS ON INSERT TO reporting.kept DO ALSO DELETE FROM client1.orders",
        "rule also on table reporting.kept",
    ),
    (
        "CREATE POLICY own ON reporting.kept USING (label IN (SELECT id FROM client1.orders))",
        "policy own on table reporting.kept",
    ),
    (
        "CREATE TABLE reporting.returns (order_id varchar CONSTRAINT of_order REFERENCES client1.orders)",
        "constraint of_order on table reporting.returns",
    ),
    (
        "CREATE TABLE reporting.more_items () INHERITS (client1.items)",
        "table reporting.more_items",
    ),
    (
        "CREATE TABLE client1.parted (at date, note text) PARTITION BY RANGE (at);
         CREATE TABLE reporting.part PARTITION OF client1.parted DEFAULT",
        "table reporting.part",
    ),
    (
        "CREATE TABLE reporting.copies (item client1.items)",
        "column item of table reporting.copies",
    ),
    (
        "CREATE TYPE client1.status AS ENUM ('open', 'paid');
         ALTER TABLE reporting.kept ADD status client1.status DEFAULT 'open';
         CREATE INDEX ON reporting.kept (status)",
        "column status of table reporting.kept",
    ),
    (
        "ALTER TABLE reporting.kept ADD statuses client1.status[]",
        "column statuses of table reporting.kept",
    ),
    (
        "CREATE TYPE reporting.line AS (status client1.status)",
        "column status of composite type reporting.line",
    ),
    (
        "CREATE DOMAIN client1.sku AS varchar(20); ALTER TABLE reporting.kept ADD sku client1.sku",
        "column sku of table reporting.kept",
    ),
    (
        "CREATE DOMAIN reporting.long_sku AS client1.sku CHECK (length(VALUE) > 9)",
        "type reporting.long_sku",
    ),
    (
        "CREATE TYPE client1.span AS RANGE (subtype = int4); ALTER TABLE reporting.kept ADD span client1.span",
        "column span of table reporting.kept",
    ),
    (
        "CREATE SEQUENCE client1.numbers;
         ALTER TABLE reporting.kept ADD number bigint DEFAULT nextval('client1.numbers')",
        "default value for column number of table reporting.kept",
    ),
    (
        "CREATE FUNCTION reporting.price(client1.items) RETURNS numeric LANGUAGE sql AS 'SELECT $1.price'",
        "function reporting.price(client1.items)",
    ),
    (
        "CREATE FUNCTION client1.vat(float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 1.2';
         CREATE INDEX by_vat ON reporting.kept (client1.vat(price))",
        "index reporting.by_vat",
    ),
    (
        "ALTER TABLE reporting.kept ADD gross float8 GENERATED ALWAYS AS (client1.vat(price)) STORED",
        "column gross of table reporting.kept",
    ),
    (
        "ALTER TABLE reporting.kept ADD CONSTRAINT cheap CHECK (client1.vat(price) < 9)",
        "constraint cheap on table reporting.kept",
    ),
    (
        "CREATE FUNCTION client1.add(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2';
         CREATE AGGREGATE reporting.total(int) (SFUNC = client1.add, STYPE = int)",
        "function reporting.total(integer)",
    ),
    (
        "CREATE FUNCTION client1.notify() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER watch BEFORE INSERT ON reporting.kept FOR EACH ROW EXECUTE FUNCTION client1.notify()",
        "trigger watch on table reporting.kept",
    ),
    (
        "CREATE COLLATION client1.plain FROM \"C\";
         ALTER TABLE reporting.kept ADD named varchar COLLATE client1.plain DEFAULT 'kept data'",
        "column named of table reporting.kept",
    ),
    (
        "CREATE OPERATOR client1.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
         CREATE VIEW reporting.compared AS SELECT 1 OPERATOR(client1.===) 1 AS is_same",
        "view reporting.compared",
    ),
    (
        "CREATE OPERATOR CLASS client1.ints FOR TYPE int USING btree AS OPERATOR 3 =, FUNCTION 1 btint4cmp(int, int);
         CREATE INDEX by_class ON reporting.kept (quantity client1.ints)",
        "index reporting.by_class",
    ),
    (
        "CREATE OPERATOR FAMILY client1.family USING btree;
         CREATE OPERATOR CLASS reporting.ints FOR TYPE int USING btree FAMILY client1.family
         AS OPERATOR 1 <, FUNCTION 1 btint4cmp(int, int)",
        "operator class reporting.ints for access method btree",
    ),
    (
        "CREATE TEXT SEARCH CONFIGURATION client1.words (COPY = simple);
         CREATE INDEX by_word ON reporting.kept USING gin (to_tsvector('client1.words'::regconfig, label))",
        "index reporting.by_word",
    ),
    (
        "CREATE TEXT SEARCH DICTIONARY client1.dictionary (TEMPLATE = simple);
         CREATE TEXT SEARCH CONFIGURATION reporting.words (COPY = simple);
         ALTER TEXT SEARCH CONFIGURATION reporting.words ALTER MAPPING FOR word WITH client1.dictionary",
        "text search configuration reporting.words",
    ),
    (
        "CREATE STATISTICS reporting.correlated ON id, user_id FROM client1.orders",
        "statistics object reporting.correlated",
    ),
];

/// Dependents without a schema: statements that create one, its description, and statements that drop it.
const GLOBAL_DEPENDENTS: &[(&str, &str, &str)] = &[
    (
        "CREATE CAST (text AS client1.status) WITH INOUT AS ASSIGNMENT",
        "cast from text to client1.status",
        "DROP CAST (text AS client1.status)",
    ),
    (
        "CREATE FUNCTION client1.to_point(int) RETURNS point LANGUAGE sql AS 'SELECT point($1, $1)';
         CREATE CAST (int AS point) WITH FUNCTION client1.to_point(int)",
        "cast from integer to point",
        "DROP CAST (int AS point)",
    ),
    (
        "CREATE FUNCTION client1.log_command() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE EVENT TRIGGER log_commands ON ddl_command_end EXECUTE FUNCTION client1.log_command()",
        "event trigger log_commands",
        "DROP EVENT TRIGGER log_commands",
    ),
    (
        "CREATE FUNCTION client1.handler(internal) RETURNS index_am_handler LANGUAGE internal AS 'bthandler';
         CREATE ACCESS METHOD tree TYPE INDEX HANDLER client1.handler",
        "access method tree",
        "DROP ACCESS METHOD tree",
    ),
    (
        "CREATE FUNCTION client1.is_shown(varchar) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true';
         CREATE POLICY shown ON client2.orders USING (client1.is_shown(id))",
        "policy shown on table client2.orders",
        "DROP POLICY shown ON client2.orders",
    ),
    (
        "CREATE SUBSCRIPTION replica CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false);
         ALTER SUBSCRIPTION replica SET (slot_name = NONE); SET allow_system_table_mods = on;
         INSERT INTO pg_subscription_rel SELECT s.oid, 'client1.orders'::regclass, 'i', NULL FROM pg_subscription s
         WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database());
         RESET allow_system_table_mods",
        "subscription replica of table client1.orders",
        "DROP SUBSCRIPTION replica",
    ),
    (
        "CREATE EXTENSION citext SCHEMA client1; ALTER TABLE client2.items ADD code client1.citext",
        "column code of table client2.items",
        "ALTER TABLE client2.items DROP code; DROP EXTENSION citext",
    ),
    (
        "CREATE EXTENSION citext SCHEMA public; CREATE TABLE client1.member (note text);
         ALTER EXTENSION citext ADD TABLE client1.member",
        "extension citext",
        "DROP EXTENSION citext",
    ),
    (
        "CREATE EXTENSION citext SCHEMA client1; CREATE TABLE client2.member (note text);
         ALTER EXTENSION citext ADD TABLE client2.member",
        "table client2.member",
        "DROP EXTENSION citext",
    ),
    (
        "CREATE EXTENSION cube SCHEMA client1; CREATE EXTENSION earthdistance SCHEMA public",
        "extension earthdistance",
        "DROP EXTENSION cube CASCADE",
    ),
    (
        "CREATE EXTENSION postgres_fdw SCHEMA client1; CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw",
        "server elsewhere",
        "DROP EXTENSION postgres_fdw CASCADE",
    ),
];

async fn drop_client1(database: &TestDatabase) -> Result<Vec<String>, AdminError> {
    let database = AdminDatabase::new(&DatabaseUrl::from(database.url())).unwrap();
    let schema = SchemaName::parse("client1").unwrap();
    let dropped = drop_tenant(&database, &schema, RemainingUsers::Orphan).await?;
    Ok(dropped.extensions)
}

#[tokio::test]
async fn drop_is_refused_for_dependents_in_any_catalog() {
    let database = demo_without_users_of_client1().await;
    let recreate = "DROP SCHEMA IF EXISTS reporting CASCADE; CREATE SCHEMA reporting;
                    CREATE TABLE reporting.kept (label text, price float8, quantity int)";
    let other = "SELECT string_agg(o::text, ' ' ORDER BY id) FROM client2.orders o";
    let orders = database.text(other).await;
    let rows = DEPENDENTS
        .iter()
        .map(|&(create, description)| (create, description, recreate));
    database.execute(recreate).await;
    for (create, description, cleanup) in rows.chain(GLOBAL_DEPENDENTS.iter().copied()) {
        database.execute(create).await;
        let before = catalog(&database).await;
        match drop_client1(&database).await {
            Err(AdminError::Drop(DropError::HasDependents { objects })) => {
                assert_eq!(objects, [description], "{create}");
            }
            other => panic!("{create}: {other:?}"),
        }
        assert_eq!(catalog(&database).await, before, "{create}");
        database.execute(cleanup).await;
    }
    drop_client1(&database).await.unwrap();
    assert!(!catalog(&database).await.contains("client1"));
    assert_eq!(database.text(other).await, orders);
}

#[tokio::test]
async fn drop_removes_every_kind_of_object_in_the_schema() {
    let database = demo_without_users_of_client1().await;
    database
        .execute(
            "CREATE TABLE public.parted (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);
             CREATE TABLE client1.part PARTITION OF public.parted DEFAULT;
             CREATE TABLE client1.numbered (i int GENERATED ALWAYS AS IDENTITY, s serial, note text,
                                            twice int GENERATED ALWAYS AS (1) STORED);
             CREATE VIEW client1.joined AS SELECT o.id FROM client1.orders o JOIN client2.orders p ON p.id = o.id;
             CREATE POLICY own ON client1.orders USING (id IN (SELECT id FROM client2.orders));
             CREATE RULE also AS ON INSERT TO client1.items DO ALSO DELETE FROM client2.items;
             CREATE FUNCTION client1.notify() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER watch BEFORE INSERT ON client1.items FOR EACH ROW EXECUTE FUNCTION client1.notify();
             CREATE STATISTICS client1.correlated ON id, user_id FROM client1.orders;
             ALTER DEFAULT PRIVILEGES IN SCHEMA client1 GRANT SELECT ON TABLES TO PUBLIC;
             CREATE PUBLICATION published FOR TABLE client1.orders, client2.orders;
             CREATE EXTENSION citext SCHEMA client1; ALTER TABLE client1.items ADD code client1.citext;
             CREATE TABLE client1.member (note text); ALTER EXTENSION citext ADD TABLE client1.member",
        )
        .await;
    let (status, _, errors) = tenants(&database, &["drop", "client1", "--yes"]);
    assert_eq!(status, Some(0), "{errors}");
    assert!(errors.contains(", extension citext"), "{errors}");
    assert!(!catalog(&database).await.contains("client1"));
    let left = "SELECT concat_ws(' ', (SELECT string_agg(tablename, ' ') FROM pg_publication_tables),
                                      (SELECT count(*) FROM pg_extension WHERE extname = 'citext'),
                                      to_regclass('public.parted'))";
    assert_eq!(database.text(left).await, "orders 0 parted");
}

#[tokio::test]
async fn drop_names_the_dependents_and_keeps_their_rows() {
    let database = demo_without_users_of_client1().await;
    database
        .execute(
            "CREATE COLLATION client1.plain FROM \"C\";
             ALTER TABLE client2.items ADD label varchar COLLATE client1.plain DEFAULT 'kept data'",
        )
        .await;
    assert_refused(
        &tenants(&database, &["drop", "client1", "--yes", "--force"]),
        "error: tenant \"client1\": objects outside the schema depend on it: column label of table client2.items; \
         drop or change these first\n",
    );
    let labels = "SELECT string_agg(label, ', ') FROM client2.items";
    assert_eq!(database.text(labels).await, "kept data, kept data");
}
