//! Ids that are no texts, and tables with other names behind views: found by their indexes.

use std::time::Duration;

use tenant_orders::config::{DatabaseUrl, PoolSettings, Pooler};
use tenant_orders::users::UserDirectory;

use crate::support::{Service, TestDatabase, wait_until};

/// Number of users and orders: so many that PostgreSQL prefers an index.
const ROWS: u32 = 20_000;

/// The ids of a database, which are made from numbers `n`.
struct Ids {
    column_type: &'static str,
    expression: &'static str,
    of_user_1: &'static str,
    of_no_user: [&'static str; 3],
}

/// A domain over a domain over `bigint`.
const DOMAIN: Ids = Ids {
    column_type: "account_number",
    expression: "n",
    of_user_1: "1",
    of_no_user: ["0", "01", "one"],
};

const VARCHAR: Ids = Ids {
    column_type: "varchar",
    expression: "n::text",
    of_user_1: "1",
    of_no_user: ["0", "01", "one"],
};

const BIGINT: Ids = Ids {
    column_type: "bigint",
    expression: "n",
    of_user_1: "1",
    of_no_user: ["0", "01", "one"],
};

const UUID: Ids = Ids {
    column_type: "uuid",
    expression: "('abcdef00' || lpad(to_hex(n), 24, '0'))::uuid",
    of_user_1: "abcdef00-0000-0000-0000-000000000001",
    of_no_user: [
        "abcdef00-0000-0000-0000-000000000000",
        "ABCDEF00-0000-0000-0000-000000000001",
        "1",
    ],
};

impl Ids {
    /// Creates the service's tables with ids of this type, and one order for each user.
    async fn database(&self) -> TestDatabase {
        let database = TestDatabase::empty().await;
        let Self {
            column_type,
            expression,
            ..
        } = self;
        database
            .execute(format!(
                "CREATE DOMAIN positive AS bigint CHECK (VALUE > 0);
                 CREATE DOMAIN account_number AS positive CHECK (VALUE < 1000000);
                 CREATE TABLE public.users (id {column_type} PRIMARY KEY, name text, organization_id text);
                 CREATE SCHEMA client1;
                 CREATE TABLE client1.items (id {column_type} PRIMARY KEY, description text, price numeric(12, 2));
                 CREATE TABLE client1.orders (id {column_type} PRIMARY KEY, creation_timestamp timestamp,
                     quantity integer, user_id {column_type}, item_id {column_type} REFERENCES client1.items);
                 CREATE INDEX ON client1.orders (user_id);
                 INSERT INTO public.users SELECT {expression}, 'user ' || n, 'client1' FROM generate_series(1, {ROWS}) n;
                 INSERT INTO client1.items SELECT {expression}, 'item', 5 FROM generate_series(1, {ROWS}) n;
                 INSERT INTO client1.orders SELECT {expression}, NULL, 2, {expression}, {expression}
                     FROM generate_series(1, {ROWS}) n;
                 ANALYZE public.users, client1.items, client1.orders"
            ))
            .await;
        database
    }
}

/// Waits until the server has counted all scans of statements that have ended: before version 15, it counts them later.
async fn wait_for_counts(database: &TestDatabase) {
    if database.server_version().await >= 15 {
        return;
    }
    let counts = "SELECT sum(seq_scan + COALESCE(idx_scan, 0))::text FROM pg_stat_user_tables";
    let mut last = String::new();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        let count = database.text(counts).await;
        if count == last {
            return;
        }
        last = count;
    }
    panic!("the counts still change: {last}");
}

/// Sends each request several times over one connection. Returns how often whole tables were read.
async fn sequential_scans(database: &TestDatabase, pooler: Pooler, requests: &[String]) -> u32 {
    let scans = async |kind: &str| -> u32 {
        let sum = format!("SELECT sum({kind})::text FROM pg_stat_user_tables");
        database.text(&sum).await.parse().unwrap()
    };
    wait_for_counts(database).await;
    let (sequential_before, by_index_before) = (scans("seq_scan").await, scans("idx_scan").await);
    let users = database.database_with(&PoolSettings {
        database_max_connections: 1,
        database_pooler: pooler,
        ..PoolSettings::default()
    });
    let service = Service::new(users.clone());
    for _ in 0..10 {
        for request in requests {
            service.get(request).await.ok();
        }
    }
    users.database().close().await;
    wait_until("the counts are complete", async || {
        scans("idx_scan").await > by_index_before
    })
    .await;
    wait_for_counts(database).await;
    scans("seq_scan").await - sequential_before
}

#[tokio::test]
async fn ids_are_found_by_index() {
    for ids in [VARCHAR, BIGINT, UUID, DOMAIN] {
        let database = ids.database().await;
        let id = ids.of_user_1;
        let requests = ["", "?limit=1", &format!("/{id}")].map(|end| format!("/users/{id}/orders{end}"));
        // The first messages compare texts, and ask for the types: one scan of each table.
        // Behind a pooler, messages contain the text of their statements.
        for pooler in [Pooler::None, Pooler::Transaction] {
            let scans = sequential_scans(&database, pooler, &requests).await;
            assert!(scans <= 3, "{}, {pooler:?}: {scans}", ids.column_type);
        }
        let service = Service::over(&database);
        for _ in 0..2 {
            let page = service.get(&format!("/users/{id}/orders")).await.ok();
            assert_eq!(page["total_due"], "10.00");
            assert_eq!(page["user"]["id"], id);
            for other in ids.of_no_user {
                let answer = service.get(&format!("/users/{other}/orders")).await;
                answer.problem(404, "user-not-found");
                let answer = service.get(&format!("/users/{id}/orders/{other}")).await;
                answer.problem(404, "order-not-found");
            }
        }
    }
}

#[tokio::test]
async fn types_of_ids_may_change_while_they_are_served() {
    let database = BIGINT.database().await;
    let service = Service::over(&database);
    let other = "client1.orders ALTER user_id TYPE text, ALTER id TYPE text";
    for change in [
        "SELECT",
        "ALTER TABLE public.users ALTER id TYPE text",
        &format!("ALTER TABLE {other}"),
        "ALTER TABLE public.users ALTER id TYPE bigint USING id::bigint",
        "ALTER TABLE client1.orders ALTER user_id TYPE integer USING user_id::integer",
        "ALTER TABLE public.users ALTER id TYPE varchar;
         INSERT INTO public.users VALUES ('one', 'user one', 'client1')",
    ] {
        database.execute(change).await;
        for _ in 0..2 {
            for path in ["/users/1/orders", "/users/1/orders?limit=1"] {
                assert_eq!(service.get(path).await.ok()["total_due"], "10.00", "{change}");
            }
        }
    }
    // A text cannot be the id of an order's user.
    assert_eq!(service.get("/users/one/orders").await.ok()["total_due"], "0.00");
}

/// To the tenant's foreign key, `tsl` and `TSL` are the same item.
#[tokio::test]
async fn items_are_joined_as_their_foreign_key_does() {
    for (item_id, order_item_id) in [("citext", "citext"), ("code", "citext"), ("code", "code")] {
        let database = TestDatabase::existing().await;
        database
            .execute(format!(
                "CREATE EXTENSION citext; CREATE DOMAIN code AS citext;
                 ALTER TABLE client1.orders DROP CONSTRAINT orders_item_id_fkey;
                 ALTER TABLE client1.items ALTER id TYPE {item_id};
                 ALTER TABLE client1.orders ALTER item_id TYPE {order_item_id};
                 UPDATE client1.items SET id = 'TSL' WHERE id = '1';
                 UPDATE client1.orders SET item_id = 'tsl' WHERE item_id = '1';
                 ALTER TABLE client1.orders ADD FOREIGN KEY (item_id) REFERENCES client1.items"
            ))
            .await;
        // The types of the columns are not known to the first request of a service.
        for path in ["/users/1/orders", "/users/1/orders?limit=1"] {
            let service = Service::over(&database);
            for _ in 0..2 {
                let page = service.get(path).await.ok();
                assert_eq!(page["total_due"], "60000.00", "{item_id}, {order_item_id}");
                assert_eq!(page["orders"][0]["item"]["id"], "tsl");
                assert_eq!(page["orders"][0]["item"]["description"], "Tesla");
            }
            let order = service.get("/users/1/orders/1").await.ok();
            assert_eq!(order["line_total"], "50000.00");
        }
    }
}

/// Without a key, an item may exist twice.
#[tokio::test]
async fn items_that_differ_only_in_case_make_a_total_ambiguous() {
    let database = TestDatabase::existing().await;
    database
        .execute(
            "CREATE EXTENSION citext;
             ALTER TABLE client1.orders DROP CONSTRAINT orders_item_id_fkey;
             ALTER TABLE client1.items DROP CONSTRAINT items_pkey, ALTER id TYPE citext;
             INSERT INTO client1.items VALUES ('TSL', NULL, 'Tesla', 1), ('tsl', NULL, 'Tesla', 2);
             UPDATE client1.orders SET item_id = 'Tsl' WHERE id = '1'",
        )
        .await;
    for path in ["/users/1/orders", "/users/1/orders?limit=1", "/users/1/orders/1"] {
        let service = Service::over(&database);
        for _ in 0..2 {
            service.get(path).await.problem(500, "tenant-data-invalid");
        }
    }
}

/// Returns a block of SQL of the page about other databases.
fn documented(mark: &str) -> &'static str {
    let page = include_str!("../../docs/your-database.md");
    let (_, block) = page.split_once(&format!("<!-- {mark} -->\n```sql\n")).unwrap();
    block.split_once("```").unwrap().0
}

#[tokio::test]
async fn documented_views_serve_tables_with_other_names() {
    let database = TestDatabase::empty_with(documented("tables")).await;
    database
        .execute(format!(
            "CREATE SCHEMA org_2;
             CREATE TABLE org_2.products (LIKE org_1.products INCLUDING ALL);
             CREATE TABLE org_2.sales_orders (LIKE org_1.sales_orders INCLUDING ALL);
             INSERT INTO public.accounts SELECT n, 'account ' || n, 1 + n % 2 FROM generate_series(1, {ROWS}) n;
             INSERT INTO org_1.products SELECT n, 'product', 7 FROM generate_series(1, {ROWS}) n;
             INSERT INTO org_2.products SELECT n, 'product', 9 FROM generate_series(1, {ROWS}) n;
             INSERT INTO org_1.sales_orders SELECT n, now(), 2, n, n FROM generate_series(2, {ROWS}, 2) n;
             INSERT INTO org_2.sales_orders SELECT n, now(), 2, n, n FROM generate_series(1, {ROWS}, 2) n;
             ANALYZE"
        ))
        .await;
    database.execute(documented("views")).await;
    database.execute(documented("grants")).await;
    let url = DatabaseUrl::from(database.url_as("shop_reader"));
    let as_reader = Service::new(UserDirectory::open(&url, &PoolSettings::default()).unwrap());
    assert_eq!(as_reader.get("/users/1/orders").await.ok()["total_due"], "18.00");
    let page = as_reader.get("/users/2/orders").await.ok();
    assert_eq!(page["total_due"], "14.00");
    assert_eq!(page["user"]["organization_id"], "org_1");
    let requests = ["", "?limit=1", "/2"].map(|end| format!("/users/2/orders{end}"));
    let scans = sequential_scans(&database, Pooler::None, &requests).await;
    assert!(scans <= 3, "{scans}");
}
