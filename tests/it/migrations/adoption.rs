//! `migrate --adopt`: schemas that another program created.

use serde_json::Value;

use super::{json_lines, run, without_durations, without_hazards};
use crate::existing_database::everything;
use crate::support::{Service, TestDatabase};

async fn pages(database: &TestDatabase) -> [Value; 2] {
    let service = Service::over(database);
    [
        service.get("/users/1/orders").await.ok(),
        service.get("/users/2/orders").await.ok(),
    ]
}

/// Returns each value of each row, with prices as numbers.
async fn rows(database: &TestDatabase) -> String {
    database
        .text(
            "SELECT concat_ws(E'\\n',
                 (SELECT string_agg(concat_ws('|', id, creation_timestamp, description, price::numeric), ' ' ORDER BY id) FROM client1.items),
                 (SELECT string_agg(o::text, ' ' ORDER BY id) FROM client1.orders o),
                 (SELECT string_agg(concat_ws('|', discount, id, creation_timestamp, description, price::numeric), ' ' ORDER BY id) FROM client2.items),
                 (SELECT string_agg(o::text, ' ' ORDER BY id) FROM client2.orders o),
                 (SELECT string_agg(u::text, ' ' ORDER BY id) FROM public.users u))",
        )
        .await
}

#[tokio::test]
async fn an_adopted_schema_keeps_its_rows_and_is_migrated() {
    let database = TestDatabase::existing().await;
    let before = (rows(&database).await, pages(&database).await);
    let (status, output, errors) = run(&database, &["migrate", "--adopt", "--jobs", "1"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert_eq!(
        without_durations(&output),
        "Applied 1/users to public\n\
         Adopted client1 at version 1\n\
         Applied 2/exact prices to client1\n\
         Applied 3/orders index to client1\n\
         Adopted client2 at version 1; kept: column items.discount integer, column orders.note text\n\
         Applied 2/exact prices to client2\n\
         Applied 3/orders index to client2\n\
         2 tenants migrated\n"
    );
    assert_eq!((rows(&database).await, pages(&database).await), before);
    let types = "SELECT string_agg(data_type, ' ') FROM information_schema.columns
                 WHERE table_name = 'items' AND column_name = 'price'";
    assert_eq!(database.text(types).await, "numeric numeric");
    let (status, output, _) = run(&database, &["migrate", "--adopt"]);
    assert_eq!((status, output.as_str()), (Some(0), "2 tenants up to date\n"));
    assert_eq!(run(&database, &["migrate"]).0, Some(0));
}

#[tokio::test]
async fn a_dry_run_of_an_adoption_writes_nothing() {
    let database = TestDatabase::existing_with("ALTER TABLE client2.orders DROP item_id").await;
    let before = everything(&database).await;
    let (status, output, errors) = run(&database, &["migrate", "--adopt", "--dry-run"]);
    assert_eq!(status, Some(1));
    assert_eq!(
        without_hazards(&output),
        "Would apply 1/users to public\n\
         Would adopt client1 at version 1\n\
         Would apply 2/exact prices to client1\n\
         Would apply 3/orders index to client1\n\
         1 tenant to migrate\n"
    );
    assert!(
        errors.contains("client2: error: the schema cannot be adopted"),
        "{errors}"
    );
    assert_eq!(everything(&database).await, before);
}

#[tokio::test]
async fn a_schema_that_cannot_be_adopted_fails_alone() {
    let database = TestDatabase::existing_with(
        "ALTER TABLE client1.orders DROP item_id; ALTER TABLE client1.items ALTER price TYPE text",
    )
    .await;
    let (status, output, errors) = run(&database, &["migrate", "--adopt", "--json"]);
    assert_eq!(status, Some(1));
    insta::assert_json_snapshot!(json_lines(&output), @r#"
    [
      {
        "error": "the schema cannot be adopted: items.price is text, not double precision or real or numeric or integer or bigint or smallint; there is no column orders.item_id",
        "from": null,
        "status": "failed",
        "tenant": "client1",
        "to": null
      },
      {
        "error": null,
        "from": 1,
        "kept": [
          "column items.discount integer",
          "column orders.note text"
        ],
        "status": "applied",
        "tenant": "client2",
        "to": 3
      }
    ]
    "#);
    assert!(errors.contains("1 of 2 tenants failed: client1"), "{errors}");
    let tables = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
                  WHERE relkind = 'r' AND relnamespace = 'client1'::regnamespace";
    assert_eq!(database.text(tables).await, "items orders");
}

#[tokio::test]
async fn an_adoption_remains_if_a_later_migration_fails() {
    let database =
        TestDatabase::existing_with("CREATE VIEW client1.prices AS SELECT price FROM client1.items").await;
    let (status, output, errors) = run(&database, &["migrate", "--adopt", "--tenant", "client1"]);
    assert_eq!(status, Some(1));
    assert!(
        output.contains("Adopted client1 at version 1; kept: view prices"),
        "{output}"
    );
    assert!(
        errors.contains("cannot alter type of a column used by a view"),
        "{errors}"
    );
    database.execute("DROP VIEW client1.prices").await;
    let (status, output, errors) = run(&database, &["migrate", "--tenant", "client1"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert!(output.contains("Applied 3/orders index to client1"), "{output}");
}
