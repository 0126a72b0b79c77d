//! `tenants query`.

use super::tenants;
use crate::support::TestDatabase;

const TOTAL: &str =
    "SELECT count(*) AS orders, sum(price * quantity) AS total, min(o.creation_timestamp) AS first
                     FROM orders o JOIN items i ON i.id = o.item_id; ";

#[tokio::test]
async fn each_tenant_is_queried_in_its_own_scope() {
    let database = TestDatabase::demo().await;
    let (status, output, errors) = tenants(&database, &["query", TOTAL]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert_eq!(
        output,
        "TENANT   ORDERS  TOTAL  FIRST\n\
         client1  2       60000  -\n\
         client2  2       10500  -\n"
            .replace("ORDERS", "orders")
            .replace("TOTAL", "total")
            .replace("FIRST", "first")
    );
    let (status, output, errors) = tenants(&database, &["query", TOTAL, "--json", "--jobs", "1"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert_eq!(
        output,
        "{\"tenant\":\"client1\",\"orders\":2,\"total\":60000,\"first\":null}\n\
         {\"tenant\":\"client2\",\"orders\":2,\"total\":10500,\"first\":null}\n"
    );
    let (_, output, _) = tenants(
        &database,
        &[
            "query",
            "SELECT id FROM items WHERE id = '1' -- one",
            "--tenant",
            "client2",
        ],
    );
    assert_eq!(output, "TENANT   id\nclient2  1\n");
}

#[tokio::test]
async fn a_failing_tenant_does_not_stop_the_others() {
    let database = TestDatabase::demo_with("DROP TABLE client1.orders").await;
    let (status, output, errors) = tenants(&database, &["query", "SELECT count(*) FROM orders", "--json"]);
    assert_eq!(status, Some(1));
    assert_eq!(output, "{\"tenant\":\"client2\",\"count\":2}\n");
    insta::assert_snapshot!(errors, @r#"
    client1: error: relation "orders" does not exist
    error: 1 of 2 tenants failed: client1
    "#);
}

#[tokio::test]
async fn writes_and_further_statements_are_refused_by_the_database() {
    let database = TestDatabase::demo_with(
        "CREATE FUNCTION public.wipe() RETURNS int LANGUAGE sql AS 'DELETE FROM client1.orders; SELECT 1'",
    )
    .await;
    for (query, reason) in [
        (
            "SELECT public.wipe()",
            "cannot execute DELETE in a read-only transaction",
        ),
        (
            "SELECT set_config('transaction_read_only', 'off', true), public.wipe()",
            "read-write mode",
        ),
        (
            "SELECT 1 AS a) AS q) AS r; DELETE FROM client1.orders; SELECT 1 FROM (SELECT 1 FROM (SELECT 1",
            "cannot insert multiple commands",
        ),
        ("DELETE FROM orders", "syntax error"),
        (
            "SELECT pg_sleep(60)",
            "canceling statement due to statement timeout",
        ),
    ] {
        let (status, output, errors) = tenants(&database, &["query", query, "--timeout", "200ms"]);
        assert_eq!(status, Some(1), "{query}: {output}");
        assert!(errors.contains(reason), "{query}: {errors}");
    }
    assert_eq!(
        database.text("SELECT count(*)::text FROM client1.orders").await,
        "2"
    );
}
