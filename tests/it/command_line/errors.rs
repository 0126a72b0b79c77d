//! Error messages of the commands and the log.

use axum::body::Body;
use axum::http::Request;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{ServiceProcess, TestDatabase, client, finished};

#[test]
fn command_reports_an_unavailable_database() {
    for arguments in [vec!["migrate"], vec!["seed", "demo"], vec!["seed", "bulk"]] {
        let (status, _, errors) = finished(
            ServiceProcess::command()
                .args(&arguments)
                .env("DATABASE_URL", "postgres://me:hush@127.0.0.1:1/nothing"),
        );
        assert_eq!(status, Some(1), "{arguments:?}");
        assert!(
            errors.starts_with("error: the database is unavailable\n"),
            "{errors}"
        );
        assert!(errors.contains("refused"), "{errors}");
        assert!(!errors.contains("hush"), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_is_logged_once_with_cause_and_request_id() {
    let database =
        TestDatabase::demo_with("INSERT INTO public.users (id, organization_id) VALUES ('x', 'missing')")
            .await;
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .env("LOG_FORMAT", "json"),
    );
    let url = service.url();
    let request = Request::get(format!("{url}/users/x/orders")).header("x-request-id", "the-one");
    let answer = client::send(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status, 503);
    service.signal(Signal::SIGTERM);
    let log = service.read_to_end();
    let failures: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["level"] == "WARN" || line["level"] == "ERROR")
        .filter(|line| line["target"] != "tenant_orders::cli::serve") // requests are not authenticated
        .collect();
    assert_eq!(failures.len(), 1, "{log}");
    assert_eq!(failures[0]["problem"], "tenant-unavailable");
    assert_eq!(failures[0]["request_id"], "the-one");
    let cause = failures[0]["cause"].as_str().unwrap();
    assert!(
        cause.contains("\"missing\"") && cause.contains("relation \"orders\" does not exist"),
        "{cause}"
    );
}

/// Makes `seed demo` violate a unique index.
const UNIQUE_DESCRIPTIONS: &str = "
    DELETE FROM client1.orders;
    DELETE FROM client1.items WHERE id = '1';
    UPDATE client1.items SET description = 'Tesla' WHERE id = '2';
    CREATE UNIQUE INDEX one_description ON client1.items (description)";
const DUPLICATE_KEY: &str = "\
error: duplicate key value violates unique constraint \"one_description\"
  DETAIL: Key (description)=(Tesla) already exists.
  TABLE: client1.items
";

/// Makes `seed demo` fail with an error that has all fields.
const FAILING_TRIGGER: &str = "
    CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'first' USING DETAIL = E'second\\nthird', HINT = 'fourth', COLUMN = 'fifth',
                                      CONSTRAINT = 'sixth';
    END $$;
    CREATE TRIGGER fail BEFORE INSERT ON public.users FOR EACH ROW EXECUTE FUNCTION public.fail()";
const ALL_FIELDS: &str = "\
error: first
  DETAIL: second
    third
  HINT: fourth
  COLUMN: fifth
  CONSTRAINT: sixth
";

#[tokio::test(flavor = "multi_thread")]
async fn command_prints_the_details_of_a_postgresql_error() {
    for (statements, expected) in [
        (UNIQUE_DESCRIPTIONS, DUPLICATE_KEY),
        (FAILING_TRIGGER, ALL_FIELDS),
    ] {
        let database = TestDatabase::demo_with(statements).await;
        let (status, _, errors) = finished(
            ServiceProcess::command()
                .args(["seed", "demo"])
                .env("DATABASE_URL", database.url()),
        );
        assert_eq!((status, errors.as_str()), (Some(1), expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_log_has_the_details_of_a_postgresql_error() {
    let database = TestDatabase::demo_with(
        "CREATE FUNCTION public.fail() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
             RAISE EXCEPTION 'first' USING DETAIL = 'second', HINT = 'third', TABLE = 'fourth';
         END $$;
         ALTER TABLE client1.items RENAME TO all_items;
         CREATE VIEW client1.items AS SELECT * FROM client1.all_items WHERE public.fail()",
    )
    .await;
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .env("LOG_FORMAT", "json"),
    );
    let url = service.url();
    let answer = client::get(format!("{url}/users/1/orders")).await.unwrap();
    assert!(answer.status.is_server_error());
    let line = service.line_with("DETAIL");
    let line: Value = serde_json::from_str(&line).unwrap();
    let cause = line["cause"].as_str().unwrap();
    assert!(
        cause.ends_with("first: DETAIL: second: HINT: third: TABLE: fourth"),
        "{cause}"
    );
    for word in ["first", "second", "third", "fourth"] {
        assert!(!answer.text().contains(word), "{}", answer.text());
    }
}
