//! Tenants' roles: PostgreSQL itself denies access to other tenants.

mod commands;
mod hostile_names;
mod memberships;
mod serving;

use std::fmt::Write;

use tenant_orders::admin::AdminDatabase;
use tenant_orders::admin::tenants::create;
use tenant_orders::config::{DatabaseUrl, PoolSettings, RoleSettings};
use tenant_orders::tenancy::SchemaName;
use tenant_orders::users::UserDirectory;

use crate::support::{Service, ServiceProcess, TestDatabase, finished};

fn name(tenant: &str) -> SchemaName {
    SchemaName::parse(tenant).unwrap()
}

/// Returns an `AdminDatabase` that creates roles and grants them to `service_role`.
fn admin_database(database: &TestDatabase, service_role: Option<&str>) -> AdminDatabase {
    AdminDatabase::new(&DatabaseUrl::from(database.url()))
        .unwrap()
        .with_roles(&RoleSettings::with_tenant_roles(service_role))
}

/// A database with two tenants with roles, and with a role for the service. Names are unique in the cluster.
struct Shops {
    database: TestDatabase,
    one: String,
    other: String,
    service_role: String,
}

impl Shops {
    /// Creates the database. `prefix` must be unique among the tests.
    async fn new(prefix: &str) -> Self {
        let database = TestDatabase::empty().await;
        let [one, other, service_role] =
            ["one", "other", "service"].map(|suffix| format!("{prefix}_{suffix}"));
        database
            .execute(format!("CREATE ROLE {service_role} LOGIN NOINHERIT"))
            .await;
        let admin_database = admin_database(&database, Some(&service_role));
        for tenant in [&one, &other] {
            create(&admin_database, &name(tenant)).await.unwrap();
        }
        let shops = Self {
            database,
            one,
            other,
            service_role,
        };
        shops.insert_orders().await;
        shops
    }

    /// Inserts orders of both users into each tenant, with distinct prices and descriptions.
    async fn insert_orders(&self) {
        let Self {
            one,
            other,
            service_role,
            ..
        } = self;
        let mut sql = format!(
            "INSERT INTO public.users (id, password, organization_id)
             VALUES ('{one}', 'secret', '{one}'), ('{other}', 'secret', '{other}');
             GRANT SELECT (id, name, organization_id) ON public.users TO {service_role};"
        );
        for (tenant, price) in [(one, 100), (other, 777)] {
            write!(
                sql,
                "INSERT INTO {tenant}.items (id, description, price) VALUES ('i', 'of {tenant}', {price});
                 INSERT INTO {tenant}.orders (id, quantity, user_id, item_id)
                 VALUES ('1', 1, '{one}', 'i'), ('2', 2, '{other}', 'i');"
            )
            .unwrap();
        }
        self.database.execute(sql).await;
    }

    /// Returns a service that uses tenants' roles and logs in as its own role.
    fn service(&self) -> Service {
        Service::new(database_with_roles(
            self.database.url_as(&self.service_role),
            &PoolSettings::default(),
        ))
    }

    fn path(&self) -> String {
        format!("/users/{}/orders", self.one)
    }
}

fn database_with_roles(url: String, settings: &PoolSettings) -> UserDirectory {
    let settings = PoolSettings {
        roles: RoleSettings::with_tenant_roles(None),
        ..settings.clone()
    };
    UserDirectory::open(&DatabaseUrl::from(url), &settings).unwrap()
}

/// Runs a command with `TENANT_ROLES=on`. Returns the exit status, standard output and standard error.
fn run(database: &TestDatabase, arguments: &[&str]) -> (Option<i32>, String, String) {
    finished(
        ServiceProcess::command()
            .args(arguments)
            .env("DATABASE_URL", database.url())
            .env("TENANT_ROLES", "on"),
    )
}

/// Returns `true` if the role exists.
async fn role_exists(database: &TestDatabase, role: &str) -> bool {
    let role = role.replace('\'', "''");
    let statement = format!("SELECT count(*)::text FROM pg_roles WHERE rolname = '{role}'");
    database.text(&statement).await == "1"
}
