//! `tenants create`.

use serde_json::json;

use super::{assert_refused, catalog, tenants, tenants_at};
use crate::support::{Service, TestDatabase};

#[tokio::test]
async fn a_tenant_created_in_an_empty_database_is_served() {
    let database = TestDatabase::empty().await;
    let (status, output, errors) = tenants(&database, &["create", "acme"]);
    assert_eq!(
        (status, output.as_str(), errors.as_str()),
        (Some(0), "", "created tenant acme\n")
    );
    let (status, checked) = super::json(&database, &["check"]);
    assert_eq!((status, &checked[0]["version"]), (Some(0), &json!(3)));
    database
        .execute("INSERT INTO public.users (id, organization_id) VALUES ('u', 'acme')")
        .await;
    let page = Service::over(&database).get("/users/u/orders").await.ok();
    assert_eq!(page["orders"], json!([]));
    assert_eq!(page["total_due"], "0.00");
}

#[tokio::test]
async fn an_existing_schema_is_not_changed() {
    let database = TestDatabase::demo_with("CREATE SCHEMA other").await;
    let before = catalog(&database).await;
    for name in ["client1", "other"] {
        assert_refused(
            &tenants(&database, &["create", name]),
            &format!("tenant \"{name}\": the schema already exists"),
        );
    }
    assert_eq!(catalog(&database).await, before);
}

#[tokio::test]
async fn a_failed_creation_leaves_nothing() {
    let database = TestDatabase::empty().await;
    // Migration 1 fails after the schema was created: a foreign key cannot refer to a view.
    database
        .execute("CREATE VIEW public.users AS SELECT ''::varchar AS id, ''::varchar AS organization_id")
        .await;
    assert_refused(
        &tenants(&database, &["create", "acme"]),
        "referenced relation \"users\" is not a table",
    );
    assert!(!catalog(&database).await.contains("acme"));
}

#[tokio::test]
async fn one_of_several_concurrent_creations_succeeds() {
    let database = TestDatabase::demo().await;
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let url = database.url();
            std::thread::spawn(move || tenants_at(&url, &["create", "acme"]))
        })
        .collect();
    let runs: Vec<_> = runs.into_iter().map(|run| run.join().unwrap()).collect();
    let (created, refused): (Vec<_>, Vec<_>) = runs.iter().partition(|(status, _, _)| *status == Some(0));
    assert_eq!((created.len(), refused.len()), (1, 3), "{runs:?}");
    for run in refused {
        assert_refused(run, "the schema already exists");
    }
    assert_eq!(super::json(&database, &["check", "acme"]).0, Some(0));
}

#[tokio::test]
async fn invalid_names_are_refused() {
    let database = TestDatabase::demo().await;
    let before = catalog(&database).await;
    for (name, reason) in [
        ("", "the schema name is empty"),
        (
            &"x".repeat(64),
            "64 bytes in the encoding of the database, at most 63 are possible",
        ),
        ("public", "is reserved"),
        ("pg_catalog", "is reserved"),
        ("information_schema", "is reserved"),
    ] {
        for command in [&["create"] as &[_], &["check"], &["drop", "--yes"]] {
            assert_refused(&tenants(&database, &[command, &[name]].concat()), reason);
        }
    }
    assert_eq!(catalog(&database).await, before);
}

#[tokio::test]
async fn missing_privileges_and_databases_are_errors() {
    let database = TestDatabase::demo().await;
    let role = format!("powerless_{}", database.name());
    database
        .execute(format!(
            "CREATE ROLE {role} LOGIN; GRANT SELECT ON public.users TO {role};
             GRANT USAGE ON SCHEMA client1, client2 TO {role};
             GRANT SELECT ON client1._tenant_orders_migrations, client2._tenant_orders_migrations TO {role};"
        ))
        .await;
    let before = catalog(&database).await;
    for command in [
        &["create", "acme"] as &[_],
        &["check"],
        &["drop", "--yes", "--force", "client1"],
    ] {
        let run = tenants_at(&database.url_as(&role), command);
        assert!(
            run.2.contains("permission denied for ")
                || run.2.contains("only the owner of the schema can drop it"),
            "{}",
            run.2
        );
    }
    assert_eq!(catalog(&database).await, before);
    let nowhere = "postgres://127.0.0.1:1/nowhere";
    for command in [
        &["create", "acme"] as &[_],
        &["list"],
        &["check"],
        &["drop", "--yes", "acme"],
    ] {
        assert_refused(&tenants_at(nowhere, command), "the database is unavailable");
    }
}
