//! An import restores what was exported.

use tenant_orders::admin::archive::ArchiveError;

use super::{drop_schema, dump, export, files, forget, import, import_as};
use crate::support::fleet;
use crate::support::{Service, TestDatabase};

/// Returns a database with a tenant that has everything that an archive can hold.
async fn rich() -> TestDatabase {
    TestDatabase::demo_with(include_str!("rich.sql")).await
}

#[tokio::test]
async fn import_restores_the_output_of_pg_dump_and_the_service() {
    let database = rich().await;
    let service = Service::over(&database);
    let responses = async || {
        let mut responses = Vec::new();
        for path in ["/users/1/orders", "/users/1/orders?limit=1", "/users/u2/orders"] {
            responses.push(service.get(path).await.ok());
        }
        responses
    };
    let (dump_before, responses_before) = (dump(&database, "client1"), responses().await);

    let (exported, file) = export(&database, "client1").await.unwrap();
    forget(&database, "client1").await;
    assert_eq!(service.get("/users/1/orders").await.status, 404);
    let imported = import(&database, &file).await.unwrap();

    assert_eq!(dump(&database, "client1"), dump_before);
    assert_eq!(responses().await, responses_before);
    assert_eq!(responses_before[0]["total_due"], "60000.00");
    assert_eq!(imported, exported);
    assert_eq!((exported.version, exported.users), (Some(3), 3));
    assert_eq!(exported.bytes, file.len() as u64);
    assert_eq!(
        exported.left_out,
        ["1 user of other organizations that table orders refers to"]
    );
    let rows: Vec<_> = exported
        .tables
        .iter()
        .map(|(name, rows)| (name.as_str(), *rows))
        .collect();
    assert_eq!(
        rows,
        [
            ("_tenant_orders_migrations", 3),
            ("a \"b\"; */ '$$\n", 2),
            ("empty", 0),
            ("events; 2025", 1),
            ("events_2024", 1),
            ("events_even", 0),
            ("events_odd", 1),
            ("items", 7),
            ("labels_a", 2),
            ("notes", 3),
            ("orders", 4),
            ("parcels", 0),
            ("typed", 2),
            ("without_columns", 2)
        ]
    );
}

#[tokio::test]
async fn import_works_in_another_database_under_another_name() {
    let (database, other) = (rich().await, TestDatabase::demo().await);
    let (_, file) = export(&database, "client1").await.unwrap();
    forget(&other, "client1").await;
    let imported = import_as(&other, &file, "New \"name\"", false).await.unwrap();
    assert_eq!(imported.tenant, "New \"name\"");
    let service = Service::over(&other);
    let page = service.get("/users/1/orders").await.ok();
    assert_eq!(page["user"]["organization_id"], "New \"name\"");
    assert_eq!(page["total_due"], "60000.00");
    assert_eq!(service.get("/users/2/orders").await.ok()["total_due"], "10500.00");

    let here = dump(&database, "client1").replace("client1", "x");
    let there = dump(&other, "New \"name\"")
        .replace("\"New \"\"name\"\"\"", "x")
        .replace("New \"name\"", "x");
    let tenant = |dump: &str| {
        dump.split("PostgreSQL database dump complete")
            .next()
            .unwrap()
            .to_owned()
    };
    let (here, there) = (tenant(&here), tenant(&there));
    assert_eq!(sorted_lines(&there), sorted_lines(&here));
}

/// `pg_dump`'s order depends on names.
fn sorted_lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[tokio::test]
async fn hostile_names_are_exported_and_imported() {
    let database = TestDatabase::demo().await;
    let (_, mut file) = export(&database, "client1").await.unwrap();
    let items = |file: &[u8]| {
        files(file)
            .into_iter()
            .find(|(path, _)| path == "tables/2-items/000001.copy")
    };
    let original = items(&file);
    for tenant in fleet::tenants().map(|tenant| tenant.name) {
        forget_users_of_archive(&database).await;
        import_as(&database, &file, tenant, false).await.unwrap();
        let (exported, next) = export(&database, tenant).await.unwrap();
        assert_eq!((exported.tenant.as_str(), exported.users), (tenant, 1));
        assert_eq!(items(&next), original, "{tenant}");
        file = next;
        drop_schema(&database, tenant).await;
    }
}

async fn forget_users_of_archive(database: &TestDatabase) {
    database
        .execute("DELETE FROM client1.orders; DELETE FROM public.users WHERE id = '1'")
        .await;
}

#[tokio::test]
async fn unmigrated_tenant_is_restored_unchanged() {
    let database = TestDatabase::existing().await;
    let before = dump(&database, "client2");
    let (exported, file) = export(&database, "client2").await.unwrap();
    assert_eq!(exported.version, None);
    forget(&database, "client2").await;
    import(&database, &file).await.unwrap();
    assert_eq!(dump(&database, "client2"), before);
    let page = Service::over(&database).get("/users/2/orders").await.ok();
    assert_eq!(page["total_due"], "10500.00");
}

#[tokio::test]
async fn import_keeps_identical_users_and_rejects_conflicts() {
    let database = TestDatabase::demo_with(
        "ALTER TABLE public.users ADD COLUMN settings json; UPDATE public.users SET settings = '{}'",
    )
    .await;
    let (_, file) = export(&database, "client1").await.unwrap();
    drop_schema(&database, "client1").await;
    let contents = import(&database, &file).await.unwrap();
    assert_eq!(contents.users, 1);

    drop_schema(&database, "client1").await;
    for change in [
        "SET name = 'other'",
        "SET name = 'rich_dude', organization_id = 'client2'",
        "SET organization_id = 'client1', settings = '{\"a\": 1}'",
    ] {
        database
            .execute(format!("UPDATE public.users {change} WHERE id = '1'"))
            .await;
        match import(&database, &file).await {
            Err(ArchiveError::UserConflicts { count: 1, ids }) => assert_eq!(ids, ["1"]),
            other => panic!("{change}: {other:?}"),
        }
        let schemas = "SELECT count(*)::text FROM pg_namespace WHERE nspname = 'client1'";
        assert_eq!(database.text(schemas).await, "0");
    }

    // A column that the archive lacks is not compared.
    database
        .execute("UPDATE public.users SET settings = '{}' WHERE id = '1'; ALTER TABLE public.users ADD COLUMN here int DEFAULT 1")
        .await;
    import(&database, &file).await.unwrap();
}

#[tokio::test]
async fn import_without_users_copies_a_tenant() {
    let database = TestDatabase::demo().await;
    let (_, file) = export(&database, "client1").await.unwrap();
    let refused = import_as(&database, &file, "copy", false).await;
    assert!(
        matches!(refused, Err(ArchiveError::UserConflicts { .. })),
        "{refused:?}"
    );
    let contents = import_as(&database, &file, "copy", true).await.unwrap();
    assert_eq!(contents.users, 0);
    let orders = "SELECT string_agg(o::text, ' ' ORDER BY id) FROM %.orders o";
    assert_eq!(
        database.text(&orders.replace('%', "copy")).await,
        database.text(&orders.replace('%', "client1")).await
    );
    assert_eq!(
        database
            .text("SELECT organization_id::text FROM public.users WHERE id = '1'")
            .await,
        "client1"
    );

    // The orders reference users that no longer exist.
    drop_schema(&database, "copy").await;
    forget(&database, "client1").await;
    let refused = import_as(&database, &file, "copy", true).await;
    assert!(matches!(refused, Err(ArchiveError::Keys(_))), "{refused:?}");
}

#[tokio::test]
async fn import_restores_grants_and_reports_missing_roles() {
    let database = rich().await;
    let (_, file) = export(&database, "client1").await.unwrap();
    import_as(&database, &file, "archive_owner", true).await.unwrap();
    database
        .execute("CREATE ROLE archive_owner; GRANT USAGE ON SCHEMA archive_owner TO archive_owner")
        .await;
    let (_, file) = export(&database, "archive_owner").await.unwrap();
    let may = async |role: &str, schema: &str| {
        let may = format!("SELECT has_schema_privilege('{role}', '{schema}', 'USAGE')::text");
        database.text(&may).await == "true"
    };

    // The grants of a tenant's own role go to the role of the copy, which does not exist.
    let contents = import_as(&database, &file, "archive_copy", false).await.unwrap();
    assert_eq!(
        contents.left_out,
        [
            "3 users of other organizations that table orders refers to",
            "USAGE on schema archive_copy for role archive_copy, which does not exist"
        ]
    );
    assert!(!may("archive_owner", "archive_copy").await);
    assert!(may("archive_reader", "archive_copy").await);

    drop_schema(&database, "archive_owner").await;
    import(&database, &file).await.unwrap();
    assert!(may("archive_owner", "archive_owner").await);

    drop_schema(&database, "archive_owner").await;
    database.execute("DROP ROLE archive_owner").await;
    let contents = import(&database, &file).await.unwrap();
    assert_eq!(
        contents.left_out.last().unwrap(),
        "USAGE on schema archive_owner for role archive_owner, which does not exist"
    );
}

#[tokio::test]
async fn session_settings_do_not_change_values() {
    let (database, other) = (rich().await, TestDatabase::demo().await);
    for (database, style) in [(&database, "sql_standard"), (&other, "iso_8601")] {
        database
            .execute(format!(
                "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET IntervalStyle TO {style}', current_database());
                   EXECUTE format('ALTER DATABASE %I SET extra_float_digits TO -5', current_database());
                   EXECUTE format('ALTER DATABASE %I SET standard_conforming_strings TO off', current_database());
                   EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only TO off', current_database()); END $$"
            ))
            .await;
    }
    let (_, file) = export(&database, "client1").await.unwrap();
    forget(&other, "client1").await;
    import(&other, &file).await.unwrap();
    let (_, again) = export(&other, "client1").await.unwrap();
    let data = |file: &[u8]| files(file).split_off(2);
    assert_eq!(data(&again), data(&file));
    let span = "SET IntervalStyle TO postgres; SET extra_float_digits TO 1;
                CREATE TABLE public.seen AS SELECT span::text || ' ' || (SELECT string_agg(weight::text, ' ' ORDER BY id) FROM client1.items)
                    AS text FROM client1.\"a \"\"b\"\"; */ '$$\n\" WHERE id = 1";
    for database in [&database, &other] {
        database.execute(span).await;
        assert!(
            database
                .text("SELECT text FROM public.seen")
                .await
                .contains("0.30000000000000004")
        );
    }
    assert_eq!(
        database.text("SELECT text FROM public.seen").await,
        other.text("SELECT text FROM public.seen").await
    );
}
