//! Requests over a Citus cluster.

use futures_util::TryStreamExt;
use tenant_orders::admin::AdminDatabase;
use tenant_orders::admin::tenants::create;
use tenant_orders::seed::{self, BulkPlan};
use tenant_orders::tenancy::SchemaName;

use super::{CitusDatabase, service_over};
use crate::support::{ServiceProcess, TestDatabase, client, finished, fleet};

const BULK: BulkPlan = BulkPlan {
    tenants: 3,
    users: 4,
    items: 5,
    orders: 7,
};

async fn fill(database: &AdminDatabase) {
    seed::demo(database).await.unwrap();
    let mut tenants = seed::bulk(database, BULK, 2).await.unwrap();
    while tenants.try_next().await.unwrap().is_some() {}
}

#[tokio::test]
async fn responses_equal_those_of_plain_postgresql() {
    let Some(citus) = CitusDatabase::empty().await else {
        return;
    };
    let plain = TestDatabase::empty().await;
    fill(&citus.admin_database()).await;
    fill(&AdminDatabase::new(&plain.url().into()).unwrap()).await;
    let plain = service_over(plain.url());
    let mut paths = vec!["/users/1/orders".to_owned(), "/users/2/orders?limit=1".to_owned()];
    for user in ["t1-u1", "t2-u2", "t3-u4", "missing", "%00"] {
        for query in ["", "?limit=1", "?limit=3", "?limit=7", "?cursor=x"] {
            paths.push(format!("/users/{user}/orders{query}"));
        }
    }
    for url in citus.urls() {
        let service = service_over(url);
        for path in &paths {
            let mut path = path.clone();
            loop {
                let [expected, found] = [plain.get(&path).await, service.get(&path).await];
                assert_eq!(expected.status, found.status, "{path}");
                if !expected.status.is_success() {
                    break;
                }
                assert_eq!(expected.text(), found.text(), "{path}");
                let Some(cursor) = found.json()["next_cursor"].as_str().map(str::to_owned) else {
                    break;
                };
                path = format!("{}?limit=3&cursor={cursor}", path.split('?').next().unwrap());
            }
        }
    }
    citus.drop().await;
}

#[tokio::test]
async fn orders_statements_are_one_task_on_the_tenants_node() {
    let Some(citus) = CitusDatabase::demo().await else {
        return;
    };
    // PostgreSQL sends its plans as warnings to the client, which logs them.
    citus
        .execute(
            "DO $$ BEGIN
                 EXECUTE format('ALTER DATABASE %I SET session_preload_libraries TO auto_explain', current_database());
                 EXECUTE format('ALTER DATABASE %I SET auto_explain.log_min_duration TO 0', current_database());
                 EXECUTE format('ALTER DATABASE %I SET auto_explain.log_level TO warning', current_database());
             END $$",
        )
        .await;
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", citus.url())
            .env("RUST_LOG", "info,sqlx=info")
            .env("LOG_FORMAT", "json"),
    );
    let url = service.url();
    for (user, tenant) in [("1", "client1"), ("2", "client2")] {
        let node = citus.node(tenant).unwrap();
        let (host, port) = node.rsplit_once(':').unwrap();
        for query in ["", "?limit=1"] {
            client::get(format!("{url}/users/{user}/orders{query}"))
                .await
                .unwrap()
                .ok();
        }
        for form in ["o.id::text", "page.id"] {
            // The text is that of the whole message, and so it is also with the plan of its other statements.
            let text = format!("SET LOCAL search_path TO \\\"{tenant}\\\", pg_temp; SELECT {form}");
            let plan = loop {
                let plan = service.line_with(&text);
                let tasks = plan.split_once("Citus Adaptive");
                if tasks.is_some_and(|(_, tasks)| tasks.contains(" on orders_")) {
                    break plan;
                }
            };
            assert!(plan.contains("Task Count: 1\\n"), "{plan}");
            assert!(
                plan.contains(&format!("Node: host={host} port={port} ")),
                "{plan}"
            );
            for function in ["current_", "session_user", "set_config", "pg_backend_pid"] {
                assert!(!plan.contains(function), "{plan}");
            }
        }
    }
    citus.drop().await;
}

#[tokio::test]
async fn tenants_with_hostile_names_are_served() {
    let Some(citus) = CitusDatabase::demo().await else {
        return;
    };
    let admin_database = citus.admin_database();
    let service = citus.service();
    for tenant in fleet::tenants() {
        let (number, name) = (tenant.number, tenant.name);
        create(&admin_database, &SchemaName::parse(name).unwrap())
            .await
            .unwrap();
        let (schema, literal) = (tenant.quoted(), name.replace('\'', "''"));
        citus
            .execute(&format!(
                "INSERT INTO public.users (id, organization_id) VALUES ('hostile {number}', '{literal}');
                 INSERT INTO {schema}.items (id, price) VALUES ('i', {number});
                 INSERT INTO {schema}.orders (id, quantity, user_id, item_id)
                 VALUES ('o', 1, 'hostile {number}', 'i')"
            ))
            .await;
        let response = service
            .get(&format!("/users/hostile%20{number}/orders"))
            .await
            .ok();
        assert_eq!(response["total_due"], format!("{number}.00"), "{name}");
        assert_eq!(response["user"]["organization_id"], *name);
    }
    assert!(citus.node(" ").is_some());
    citus.run_ok(&["tenants", "check"]);
    citus.drop().await;
}

#[tokio::test]
async fn only_tenants_of_a_failed_node_are_unavailable() {
    let Some(citus) = CitusDatabase::demo().await else {
        return;
    };
    let service = citus.service();
    assert_ne!(citus.node("client1"), citus.node("client2"));
    let down = citus.worker_of("client1");
    for _ in 0..2 {
        citus.set_reachable(down, false).await;
        for _ in 0..3 {
            service
                .get("/users/1/orders")
                .await
                .problem(503, "database-unavailable");
            assert_eq!(service.get("/users/2/orders").await.ok()["total_due"], "10500.00");
        }
        let listed = citus.run_ok(&["tenants", "list"]);
        assert!(listed.contains("client1"), "{listed}");
        citus.set_reachable(down, true).await;
        assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60000.00");
    }
    citus.drop().await;
}

#[tokio::test]
async fn tenant_roles_are_refused_on_citus() {
    let Some(citus) = CitusDatabase::demo().await else {
        return;
    };
    let with_roles = |arguments: &[&str]| {
        finished(
            ServiceProcess::command()
                .args(arguments)
                .env("DATABASE_URL", citus.url())
                .env("TENANT_ROLES", "on"),
        )
    };
    for (arguments, reason) in [
        (["serve"].as_slice(), "set TENANT_ROLES=off"),
        (
            &["tenants", "create", "x"],
            "the tenant cannot have a role: Citus",
        ),
        (&["migrate"], "the tenant cannot have a role: Citus"),
    ] {
        let (status, _, errors) = with_roles(arguments);
        assert_eq!(status, Some(1), "{errors}");
        assert!(errors.contains(reason), "{errors}");
    }
    citus.drop().await;
}
