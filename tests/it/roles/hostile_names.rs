//! Roles of tenants with hostile names.

use tenant_orders::admin::archive::{self, ImportOptions};
use tenant_orders::admin::tenants::create;
use tenant_orders::admin::tenants::drop::{RemainingUsers, drop_tenant};
use tenant_orders::admin::tenants::roles::RoleRemoval;
use tenant_orders::config::PoolSettings;

use super::{admin_database, database_with_roles, name, role_exists, run};
use crate::support::{Service, TestDatabase};

/// Names that are unique in the cluster, because roles belong to the cluster.
const NAMES: [&str; 9] = [
    "Role\"s",
    "*/ role; DROP SCHEMA public CASCADE; --",
    "ROLE; DROP ROLE postgres",
    "Rölé ünï cödé 名前",
    " role ",
    "role'; --",
    "CURRENT_ROLE",
    "--role",
    "r23456789012345678901234567890123456789012345678901234567890123",
];

#[tokio::test]
async fn roles_with_hostile_names_work_in_every_command() {
    let database = TestDatabase::empty_with("CREATE ROLE r_hostile LOGIN NOINHERIT").await;
    let admin_database = admin_database(&database, Some("r_hostile"));
    for (number, tenant) in NAMES.into_iter().enumerate() {
        let schema = name(tenant);
        create(&admin_database, &schema).await.unwrap();
        let (quoted, literal) = (schema.quoted(), tenant.replace('\'', "''"));
        database
            .execute(format!(
                "INSERT INTO public.users (id, organization_id) VALUES ('{number}', '{literal}');
                 INSERT INTO {quoted}.items (id, price) VALUES ('i', 1{number});
                 INSERT INTO {quoted}.orders (id, quantity, user_id, item_id) VALUES ('o', 1, '{number}', 'i');"
            ))
            .await;
        let mut file = Vec::new();
        archive::export(&admin_database, &schema, &mut file)
            .await
            .unwrap();
        drop_tenant(&admin_database, &schema, RemainingUsers::Orphan)
            .await
            .unwrap();
        assert!(!role_exists(&database, tenant).await, "{tenant}");
        let imported = archive::import(&admin_database, file.as_slice(), &ImportOptions::default()).await;
        assert_eq!(imported.unwrap().left_out, Vec::<String>::new());
        assert!(role_exists(&database, tenant).await, "{tenant}");
    }
    database
        .execute("GRANT SELECT (id, name, organization_id) ON public.users TO r_hostile")
        .await;
    let url = database.url_as("r_hostile");
    let service = Service::new(database_with_roles(url, &PoolSettings::default()));
    for number in 0..NAMES.len() {
        let page = service.get(&format!("/users/{number}/orders")).await.ok();
        assert_eq!(page["total_due"], format!("1{number}.00"));
    }
    let (status, output, errors) = run(&database, &["migrate", "--service-role", "r_hostile"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert_eq!(output, format!("{} tenants up to date\n", NAMES.len()));
    for tenant in NAMES {
        let dropped = drop_tenant(&admin_database, &name(tenant), RemainingUsers::Orphan)
            .await
            .unwrap();
        assert_eq!(dropped.role, RoleRemoval::Dropped);
        assert!(!role_exists(&database, tenant).await, "{tenant}");
    }
}
