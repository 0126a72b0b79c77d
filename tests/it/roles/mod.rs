//! A role for each tenant: that the database itself then refuses what belongs to another.

mod commands;
mod hostile_names;
mod serving;

use std::fmt::Write;

use tenant_orders::admin::AdminDatabase;
use tenant_orders::admin::tenants::create;
use tenant_orders::config::{DatabaseUrl, PoolSettings, RoleSettings};
use tenant_orders::tenancy::SchemaName;
use tenant_orders::users::UserDirectory;
use tokio::sync::OnceCell;

use crate::support::{Service, ServiceProcess, TestDatabase, finished};

/// Roles belong to the whole cluster, and so does the one of which all tenants' roles are members.
static ROLE_OF_ALL: OnceCell<()> = OnceCell::const_new();

fn name(tenant: &str) -> SchemaName {
    SchemaName::parse(tenant).unwrap()
}

/// AdminDatabase that makes roles, and grants them to `service_role`.
fn admin_database(database: &TestDatabase, service_role: Option<&str>) -> AdminDatabase {
    AdminDatabase::new(&DatabaseUrl::from(database.url()))
        .unwrap()
        .with_roles(&RoleSettings::on(service_role))
}

/// An empty database in a cluster where some tenant has had a role before.
async fn empty_database() -> TestDatabase {
    ROLE_OF_ALL
        .get_or_init(async || {
            let database = TestDatabase::empty().await;
            create(&admin_database(&database, None), &name("first-with-a-role"))
                .await
                .unwrap();
        })
        .await;
    TestDatabase::empty().await
}

/// A database with two tenants, made with roles, whose names nobody else in the cluster has, and with a role
/// for the service.
struct Shops {
    database: TestDatabase,
    one: String,
    other: String,
    service_role: String,
}

impl Shops {
    /// `names` is for this test alone.
    async fn make(names: &str) -> Self {
        let database = empty_database().await;
        let [one, other, service_role] =
            ["one", "other", "service"].map(|suffix| format!("{names}_{suffix}"));
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
        shops.fill().await;
        shops
    }

    /// Each tenant has orders of both users, at a price and with a description of its own.
    async fn fill(&self) {
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

    /// The service as it is to be run: with roles, and under its own role.
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
        roles: RoleSettings::on(None),
        ..settings.clone()
    };
    UserDirectory::open(&DatabaseUrl::from(url), &settings).unwrap()
}

/// Runs a command with roles: its exit status, standard output and standard error.
fn run(database: &TestDatabase, arguments: &[&str]) -> (Option<i32>, String, String) {
    finished(
        ServiceProcess::command()
            .args(arguments)
            .env("DATABASE_URL", database.url())
            .env("TENANT_ROLES", "on"),
    )
}

/// Whether there is a role of this name.
async fn is_role(database: &TestDatabase, role: &str) -> bool {
    let role = role.replace('\'', "''");
    let statement = format!("SELECT count(*)::text FROM pg_roles WHERE rolname = '{role}'");
    database.text(&statement).await == "1"
}
