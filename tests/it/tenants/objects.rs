//! `tenants check`: functions, triggers, sequences, policies, grants and owners.

use std::fs;

use serde_json::{Value, json};

use super::json;
use crate::support::{ServiceProcess, TestDatabase, finished};

const OBJECTS: &str = "
    CREATE SEQUENCE numbers INCREMENT 2;
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE FUNCTION cheapest(low numeric) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT min(price) FROM items';
    CREATE TRIGGER stamp BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION stamp();
    ALTER TABLE items ENABLE ROW LEVEL SECURITY;
    CREATE POLICY priced ON items FOR SELECT USING (price > 0 OR nextval('numbers') > 0);
    GRANT INSERT ON items TO pg_monitor;";

/// Returns the demo and a folder of migrations that adds objects to its tenants.
async fn demo_with_objects() -> (TestDatabase, tempfile::TempDir) {
    let database = TestDatabase::demo().await;
    let folder = tempfile::tempdir().unwrap();
    let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    for part in ["shared", "tenant"] {
        let (from, to) = (format!("{repository}/{part}"), folder.path().join(part));
        fs::create_dir(&to).unwrap();
        for file in fs::read_dir(from).unwrap() {
            let file = file.unwrap().path();
            fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
        }
    }
    fs::write(folder.path().join("tenant/0004_objects.sql"), OBJECTS).unwrap();
    let (status, _, errors) = finished(
        ServiceProcess::command()
            .args(["migrate", "--migrations", folder.path().to_str().unwrap()])
            .env("DATABASE_URL", database.url()),
    );
    assert_eq!(status, Some(0), "{errors}");
    (database, folder)
}

/// Returns the differences of client1, after asserting that client2 has none.
fn differences(database: &TestDatabase, folder: &tempfile::TempDir, arguments: &[&str]) -> Vec<Value> {
    let folder = ["check", "--migrations", folder.path().to_str().unwrap()];
    let (status, checked) = json(database, &[&folder, arguments].concat());
    assert_eq!(checked[1]["differences"], json!([]));
    let differences = checked[0]["differences"].as_array().unwrap().clone();
    assert_eq!(status, Some(i32::from(!differences.is_empty())));
    differences
}

fn summaries(differences: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let summary = |difference: &Value| {
        ["kind", "object", "expected", "found"]
            .map(|field| text(&difference[field]))
            .join(" | ")
    };
    differences.iter().map(summary).collect()
}

#[tokio::test]
async fn functions_triggers_sequences_and_policies_are_compared() {
    let (database, folder) = demo_with_objects().await;
    assert_eq!(differences(&database, &folder, &[]), Vec::<Value>::new());
    database
        .execute(
            "SET search_path TO client1;
             ALTER SEQUENCE numbers INCREMENT 5; CREATE SEQUENCE letters;
             CREATE OR REPLACE FUNCTION cheapest(low numeric) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT 1::numeric';
             CREATE FUNCTION dearest(item items) RETURNS numeric LANGUAGE sql AS 'SELECT 2::numeric';
             ALTER TABLE orders DISABLE TRIGGER stamp;
             CREATE TRIGGER again AFTER DELETE ON items FOR EACH ROW EXECUTE FUNCTION stamp();
             ALTER POLICY priced ON items USING (price > 1); ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
        )
        .await;
    let found = differences(&database, &folder, &[]);
    let function = |name: &str, body: &str| {
        format!("CREATE OR REPLACE FUNCTION {name}\n RETURNS numeric\n LANGUAGE sql\n{body}\n")
    };
    let trigger = "CREATE TRIGGER stamp BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION stamp()";
    let range = "MINVALUE 1 MAXVALUE 9223372036854775807 CACHE 1";
    let cheapest = |body: &str| {
        function(
            "cheapest(low numeric)",
            &format!(" STABLE\nAS $function${body}$function$"),
        )
    };
    assert_eq!(
        summaries(&found),
        [
            format!(
                "function | cheapest(low numeric) | {} | {}",
                cheapest("SELECT min(price) FROM items"),
                cheapest("SELECT 1::numeric")
            ),
            format!("trigger | orders.stamp | {trigger} | {trigger} DISABLED"),
            format!("sequence | numbers | bigint START 1 INCREMENT 2 {range} | bigint START 1 INCREMENT 5 {range}"),
            "policy | items.priced | PERMISSIVE FOR SELECT TO PUBLIC USING (((price > (0)::numeric) OR \
             (nextval('numbers'::regclass) > 0))) | PERMISSIVE FOR SELECT TO PUBLIC USING ((price > (1)::numeric))"
                .to_owned(),
            format!(
                "function | dearest(item items) | - | {}",
                function("dearest(item items)", "AS $function$SELECT 2::numeric$function$")
            ),
            "trigger | items.again | - | CREATE TRIGGER again AFTER DELETE ON items FOR EACH ROW EXECUTE FUNCTION stamp()"
                .to_owned(),
            format!("sequence | letters | - | bigint START 1 INCREMENT 1 {range}"),
            "policy | orders | - | row level security".to_owned(),
        ]
    );
    let kinds = |arguments: &[&str]| {
        let found = differences(&database, &folder, arguments);
        let kinds = found
            .iter()
            .map(|found| found["kind"].as_str().unwrap().to_owned());
        kinds.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(kinds(&["--ignore-extra"]), "function trigger sequence policy");
    assert_eq!(
        kinds(&["--only", "trigger,policy", "--ignore-extra"]),
        "trigger policy"
    );
    assert_eq!(
        kinds(&["--only", "sequence", "--only", "table"]),
        "sequence sequence"
    );
    assert_eq!(kinds(&["--only", "column"]), "");
}

#[tokio::test]
async fn grants_and_owners_are_compared_if_tenants_have_roles() {
    let (database, folder) = demo_with_objects().await;
    let access = ["--only", "grant,owner"];
    assert_eq!(differences(&database, &folder, &access), Vec::<Value>::new());
    database
        .execute(
            "SET search_path TO client1;
             GRANT SELECT, DELETE ON items TO pg_monitor WITH GRANT OPTION; GRANT USAGE ON SCHEMA client1 TO PUBLIC;
             GRANT SELECT (id) ON orders TO pg_monitor; REVOKE EXECUTE ON FUNCTION cheapest FROM PUBLIC;
             GRANT ALL ON SEQUENCE numbers TO pg_monitor;
             ALTER TABLE orders OWNER TO pg_signal_backend; ALTER FUNCTION stamp() OWNER TO pg_monitor",
        )
        .await;
    assert_eq!(differences(&database, &folder, &[]), Vec::<Value>::new());
    let expected = [
        "grant | cheapest(low numeric) to PUBLIC | EXECUTE | -",
        "grant | items to pg_monitor | INSERT | DELETE WITH GRANT OPTION, INSERT, SELECT WITH GRANT OPTION",
        "grant | numbers to pg_monitor | - | SELECT, UPDATE, USAGE",
        "grant | orders.id to pg_monitor | - | SELECT",
        "grant | the schema to PUBLIC | - | USAGE",
        "owner | orders | - | pg_signal_backend",
        "owner | stamp() | - | pg_monitor",
    ];
    assert_eq!(summaries(&differences(&database, &folder, &access)), expected);
    let (_, output, _) = finished(
        ServiceProcess::command()
            .args([
                "tenants",
                "check",
                "--migrations",
                folder.path().to_str().unwrap(),
            ])
            .env("DATABASE_URL", database.url())
            .env("TENANT_ROLES", "on"),
    );
    assert!(
        output.contains("  owner of orders: unexpected (pg_signal_backend)\n"),
        "{output}"
    );
}
