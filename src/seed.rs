//! Demo and load-test data.

use futures_util::{StreamExt, stream};
use sqlx::{Connection, PgConnection, raw_sql};
use tokio::sync::mpsc;

use crate::admin::migrations::migrate_shared;
use crate::admin::{AdminDatabase, AdminError, RetryPolicy, schema, tenants};
use crate::tenancy::SchemaName;

const DEMO: &str = include_str!("../seeds/demo.sql");
const DEMO_TENANTS: [&str; 2] = ["client1", "client2"];

/// Size of the load-test data: tenants `t1`, `t2`, …, each with users such as `t1-u1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkPlan {
    /// Number of tenants.
    pub tenants: u32,
    /// Number of users per tenant.
    pub users: u32,
    /// Number of items per tenant.
    pub items: u32,
    /// Number of orders per user.
    pub orders: u32,
}

/// Creates the demo: two users in two tenants, with the same items at different prices. Existing rows are
/// not changed.
///
/// # Errors
///
/// Returns [`AdminError`] on failure, after which no row has been added.
pub async fn demo(database: &AdminDatabase) -> Result<(), AdminError> {
    migrate_shared(database, RetryPolicy::default()).await?;
    for name in DEMO_TENANTS {
        tenants::create_if_missing(database, &SchemaName::parse(name)?).await?;
    }
    let mut connection = database.connect().await?;
    let mut transaction = connection.begin().await?;
    raw_sql(DEMO).execute(&mut *transaction).await?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(())
}

/// Fills the tenants of `plan`, up to `concurrency` at a time, and sends the result of each. A tenant's rows
/// are added in one transaction, and existing rows are not changed, so an interrupted run can be repeated.
/// It stops at the first failure, and when the receiver is dropped.
///
/// # Errors
///
/// Returns [`AdminError`] if the shared tables cannot be migrated.
pub async fn bulk(
    database: &AdminDatabase,
    plan: BulkPlan,
    concurrency: usize,
) -> Result<mpsc::Receiver<Result<(), AdminError>>, AdminError> {
    migrate_shared(database, RetryPolicy::default()).await?;
    let (results, receiver) = mpsc::channel(1);
    let database = database.clone();
    tokio::spawn(async move {
        let mut filled = stream::iter(1..=plan.tenants)
            .map(|number| fill(&database, format!("t{number}"), plan))
            .buffer_unordered(concurrency);
        while let Some(result) = filled.next().await {
            let failed = result.is_err();
            if results.send(result).await.is_err() || failed {
                return;
            }
        }
    });
    Ok(receiver)
}

async fn fill(database: &AdminDatabase, name: String, plan: BulkPlan) -> Result<(), AdminError> {
    let schema = SchemaName::parse(&name)?;
    tenants::create_if_missing(database, &schema).await?;
    let mut connection = database.connect().await?;
    schema::set_search_path(&mut connection, &schema).await?;
    let mut transaction = connection.begin().await?;
    insert(&mut transaction, &name, plan).await?;
    transaction.commit().await?;
    raw_sql("ANALYZE items; ANALYZE orders")
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    Ok(())
}

/// Inserts the same rows on every run; prices differ between tenants.
async fn insert(connection: &mut PgConnection, name: &str, plan: BulkPlan) -> Result<(), sqlx::Error> {
    let [users, items, orders] = [plan.users, plan.items, plan.orders].map(i64::from);
    sqlx::query(
        "INSERT INTO public.users (id, creation_timestamp, name, mail, organization_id)
         SELECT $1 || '-u' || n, timestamp '2024-01-01' + n * interval '1 minute',
                'User ' || n || ' of ' || $1, 'u' || n || '@' || $1 || '.example.com', $1
         FROM generate_series(1, $2) AS n
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(name)
    .bind(users)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO items (id, creation_timestamp, description, price)
         SELECT n::text, timestamp '2024-01-01', 'Item ' || n,
                (100 + abs(hashtext($1 || ' ' || n)::bigint) % 100000)::numeric / 100
         FROM generate_series(1, $2) AS n
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(name)
    .bind(items)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO orders (id, creation_timestamp, quantity, user_id, item_id)
         SELECT u || '-' || n, timestamp '2024-01-01' + (n * 1000 + u) * interval '1 minute',
                1 + (u + n) % 20, $1 || '-u' || u, (1 + (u * 7 + n * 13) % $4)::text
         FROM generate_series(1, $2) AS u, generate_series(1, $3) AS n
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(name)
    .bind(users)
    .bind(orders)
    .bind(items)
    .execute(&mut *connection)
    .await?;
    Ok(())
}
