//! Databases that other people created: their encodings, collations, types and settings.

use tenant_orders::admin::{AdminDatabase, tenants};
use tenant_orders::config::{DatabaseUrl, PoolSettings, Pooler};
use tenant_orders::users::UserDirectory;

use crate::support::{Service, ServiceProcess, TestDatabase, finished};

/// The tables of the service, with the tenants `short` and `long`.
fn two_tenants(short: &str, long: &str) -> String {
    let tenant = |schema: &str, price: u32| {
        format!(
            "CREATE SCHEMA \"{schema}\";
             CREATE TABLE \"{schema}\".items (id varchar PRIMARY KEY, description varchar, price double precision);
             CREATE TABLE \"{schema}\".orders (id varchar PRIMARY KEY, creation_timestamp timestamp,
                 quantity integer, user_id varchar, item_id varchar);
             INSERT INTO \"{schema}\".items VALUES ('1', 'item', {price});
             INSERT INTO \"{schema}\".orders VALUES ('1', NULL, 1, '1', '1'), ('2', NULL, 1, '2', '1');"
        )
    };
    format!(
        "CREATE TABLE public.users (id varchar PRIMARY KEY, name varchar, organization_id varchar);
         INSERT INTO public.users VALUES ('1', 'one', '{short}'), ('2', 'two', '{long}'); {}",
        tenant(short, 5)
    )
}

async fn total_due(service: &Service, path: &str) -> String {
    let page = service.get(path).await.ok();
    page["total_due"].as_str().unwrap().to_owned()
}

/// In the encoding `EUC_JP`, `é` has three bytes: PostgreSQL truncates a name of 31 to one of 21.
#[tokio::test]
async fn name_that_the_server_truncates_is_no_tenant() {
    let options = "ENCODING 'EUC_JP' LC_COLLATE 'C' LC_CTYPE 'C'";
    let database = TestDatabase::with_options(options).await;
    let (short, long) = ("é".repeat(21), "é".repeat(31));
    database.execute(two_tenants(&short, &long)).await;
    let service = Service::over(&database);
    for _ in 0..2 {
        assert_eq!(total_due(&service, "/users/1/orders").await, "5.00");
        for path in ["/users/2/orders", "/users/2/orders?limit=1", "/users/2/orders/2"] {
            service.get(path).await.problem(503, "tenant-unavailable");
        }
    }
}

/// In LATIN1, `é` has one byte, fewer than in UTF-8.
#[tokio::test]
async fn name_that_fits_in_the_servers_encoding_is_a_tenant() {
    let database = TestDatabase::latin1().await;
    let name = "é".repeat(40);
    database.execute(two_tenants(&name, &name)).await;
    assert_eq!(
        total_due(&Service::over(&database), "/users/1/orders").await,
        "5.00"
    );
}

#[tokio::test]
async fn bytes_that_are_not_text_are_invalid_data() {
    let database = TestDatabase::with_options("ENCODING 'SQL_ASCII' LOCALE 'C'").await;
    database.execute(two_tenants("client1", "client1")).await;
    database
        .execute(
            "INSERT INTO public.users VALUES ('3', E'\\xe9', 'client1'), ('4', 'four', E'caf\\xe9');
             DO $$ BEGIN EXECUTE format('CREATE SCHEMA %I', E'caf\\xe9'); END $$;
             UPDATE client1.orders SET id = E'\\xe9' WHERE user_id = '2'",
        )
        .await;
    let service = Service::over(&database);
    assert_eq!(total_due(&service, "/users/1/orders").await, "5.00");
    for path in ["/users/2/orders", "/users/2/orders?limit=1", "/users/3/orders"] {
        service.get(path).await.problem(500, "tenant-data-invalid");
    }
    let answer = service.get("/users/4/orders").await;
    answer.problem(503, "tenant-unavailable");
    let (status, output, _) = finished(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .args(["tenants", "list"]),
    );
    assert_eq!(status, Some(0));
    assert!(output.contains("caf\\xe9"), "{output}");
    assert!(output.contains("client1"), "{output}");
}

#[tokio::test]
async fn settings_of_the_database_change_no_result() {
    let database = TestDatabase::existing_with(
        "UPDATE client1.orders SET creation_timestamp = '2026-01-31 09:30' WHERE id = '1';
         UPDATE client1.items SET price = 0.1 WHERE id = '1'",
    )
    .await;
    let name = database.name();
    let settings = [
        "quote_all_identifiers = on",
        "default_transaction_isolation = serializable",
        "default_transaction_read_only = on",
        "standard_conforming_strings = off",
        "bytea_output = escape",
        "extra_float_digits = -15",
        "DateStyle = 'German, DMY'",
        "IntervalStyle = sql_standard",
        "search_path = client2, public",
        "lock_timeout = '1ms'",
        "statement_timeout = '1ms'",
        "lc_messages = 'C'",
        "row_security = off",
        "xmloption = document",
        "array_nulls = off",
    ]
    .map(|setting| format!("ALTER DATABASE {name} SET {setting}"));
    database.execute(settings.join("; ")).await;
    let service = Service::over(&database);
    for path in ["/users/1/orders", "/users/1/orders?limit=1"] {
        let page = service.get(path).await.ok();
        assert_eq!(page["total_due"], "10001.00");
        assert_eq!(page["orders"][0]["created_at"], "2026-01-31T09:30:00");
    }
}

#[tokio::test]
async fn fractional_quantities_are_exact() {
    for column in ["numeric(10,3)", "double precision"] {
        let database = TestDatabase::existing_with(format!(
            "ALTER TABLE client1.orders ALTER quantity TYPE {column};
             UPDATE client1.orders SET quantity = 2.5 WHERE id = '1';
             UPDATE client1.orders SET quantity = 0.4 WHERE id = '2'"
        ))
        .await;
        let service = Service::over(&database);
        let page = service.get("/users/1/orders").await.ok();
        assert_eq!(page["orders"][0]["line_total"], "12500.00");
        assert_eq!(page["orders"][1]["quantity"].to_string(), "0.4");
        assert_eq!(page["total_due"], "13300.00");
        assert_eq!(total_due(&service, "/users/1/orders?limit=1").await, "13300.00");
    }
}

#[tokio::test]
async fn columns_of_different_collations_are_joined() {
    let database = TestDatabase::existing_with(
        "ALTER TABLE client1.orders DROP CONSTRAINT orders_item_id_fkey;
         ALTER TABLE client1.items ALTER id TYPE varchar COLLATE \"C\";
         ALTER TABLE client1.orders ALTER item_id TYPE varchar COLLATE \"en-x-icu\";
         ALTER TABLE client1.orders ADD FOREIGN KEY (item_id) REFERENCES client1.items",
    )
    .await;
    let service = Service::over(&database);
    for path in ["/users/1/orders", "/users/1/orders?limit=1"] {
        assert_eq!(total_due(&service, path).await, "60000.00");
    }
    assert_eq!(
        service.get("/users/1/orders/1").await.ok()["line_total"],
        "50000.00"
    );
}

/// Users and organizations are compared byte for byte, with any collation.
#[tokio::test]
async fn names_that_differ_only_in_case_are_different_tenants() {
    let database = TestDatabase::existing_with(
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         ALTER TABLE client1.orders DROP CONSTRAINT orders_user_id_fkey;
         ALTER TABLE client2.orders DROP CONSTRAINT orders_user_id_fkey;
         ALTER TABLE public.users ALTER organization_id TYPE varchar COLLATE ci, ALTER id TYPE varchar COLLATE ci;
         ALTER SCHEMA client2 RENAME TO \"CLIENT1\";
         UPDATE public.users SET organization_id = 'CLIENT1' WHERE id = '2'",
    ).await;
    let service = Service::over(&database);
    assert_eq!(total_due(&service, "/users/1/orders").await, "60000.00");
    assert_eq!(total_due(&service, "/users/2/orders").await, "10500.00");
    let tenants = tenants::list(&AdminDatabase::new(&DatabaseUrl::from(database.url())).unwrap()).await;
    let users: Vec<_> = tenants
        .unwrap()
        .into_iter()
        .map(|tenant| (tenant.name, tenant.users))
        .collect();
    assert_eq!(users, [("CLIENT1".to_owned(), 1), ("client1".to_owned(), 1)]);
    let run = |arguments: &[&str]| {
        let mut command = ServiceProcess::command();
        finished(command.env("DATABASE_URL", database.url()).args(arguments))
    };
    let (_, _, errors) = run(&["tenants", "export", "client1"]);
    assert!(errors.contains("1 user, "), "{errors}");
    let (status, _, errors) = run(&["tenants", "drop", "CLIENT1", "--yes"]);
    assert_eq!(status, Some(1), "{errors}");
    assert!(errors.contains("1 user still belongs to this tenant"), "{errors}");
    database
        .execute("UPDATE public.users SET organization_id = 'CLIENT1' WHERE id = '1'")
        .await;
    assert_eq!(total_due(&service, "/users/1/orders").await, "0.00");
}

#[tokio::test]
async fn orders_of_an_id_equal_only_by_collation_are_not_returned() {
    let database = TestDatabase::existing_with(
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         ALTER TABLE client1.orders DROP CONSTRAINT orders_user_id_fkey;
         INSERT INTO public.users (id, organization_id) VALUES ('ann', 'client1');
         INSERT INTO client1.orders VALUES ('a', NULL, 1, 'ann', '2'), ('b', NULL, 1, 'ANN', '1')",
    )
    .await;
    let paths = ["/users/ann/orders", "/users/ann/orders?limit=1"];
    let service = Service::over(&database);
    for path in paths {
        assert_eq!(total_due(&service, path).await, "2000.00", "{path}");
    }
    database
        .execute("ALTER TABLE client1.orders ALTER user_id TYPE varchar COLLATE ci")
        .await;
    for path in paths {
        // The service does not know yet that the collation has changed.
        service.get(path).await.problem(500, "tenant-data-invalid");
        let service = Service::over(&database);
        for _ in 0..2 {
            assert_eq!(total_due(&service, path).await, "2000.00", "{path}");
        }
    }
}

/// A total that lacks the hidden rows would be wrong.
#[tokio::test]
async fn rows_that_a_policy_hides_are_an_error() {
    let database = TestDatabase::existing().await;
    let reader = format!("reader_{}", database.name());
    database
        .execute(format!(
            "CREATE ROLE {reader} LOGIN; GRANT SELECT ON public.users TO {reader};
             GRANT USAGE ON SCHEMA client1 TO {reader}; GRANT SELECT ON client1.items, client1.orders TO {reader};
             ALTER TABLE client1.orders ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON client1.orders USING (user_id = current_setting('app.user_id', true))"
        ))
        .await;
    let url = DatabaseUrl::from(database.url_as(&reader));
    for pooler in [Pooler::None, Pooler::Transaction] {
        let settings = PoolSettings {
            database_pooler: pooler,
            ..PoolSettings::default()
        };
        let service = || Service::new(UserDirectory::open(&url, &settings).unwrap());
        let paths = ["/users/1/orders", "/users/1/orders?limit=1", "/users/1/orders/1"];
        for path in paths {
            service().get(path).await.problem(503, "tenant-unavailable");
        }
        database.execute(format!("ALTER ROLE {reader} BYPASSRLS")).await;
        assert_eq!(total_due(&service(), "/users/1/orders").await, "60000.00");
        database
            .execute(format!(
                "ALTER ROLE {reader} NOBYPASSRLS; ALTER TABLE public.users ENABLE ROW LEVEL SECURITY"
            ))
            .await;
        service()
            .get("/users/1/orders")
            .await
            .problem(503, "database-unavailable");
        database
            .execute("ALTER TABLE public.users DISABLE ROW LEVEL SECURITY")
            .await;
    }
}
