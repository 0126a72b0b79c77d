//! Ten realistic migrations, which `benches/rollout.sh` runs on many tenants.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, iter};

use super::fleet::fill;
use super::folder::{folder_with, run_with};
use super::run;
use crate::support::{Service, TestDatabase};

const TENANTS: usize = 6;

/// Inserts an order into one tenant after the other until `over`. Returns the number of orders.
async fn write(database: Arc<TestDatabase>, over: Arc<AtomicBool>) -> usize {
    let mut connection = database.connect().await;
    let mut orders = 0;
    while !over.load(Ordering::Relaxed) {
        let tenant = orders % TENANTS + 1;
        let insert = format!(
            "INSERT INTO t{tenant}.orders (id, creation_timestamp, quantity, user_id, item_id)
             VALUES ('new {orders}', now(), 1, 't{tenant}-u1', '1')"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(insert))
            .execute(&mut connection)
            .await
            .unwrap();
        orders += 1;
    }
    orders
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_migrations_fail_no_request_and_no_write() {
    let database = Arc::new(TestDatabase::empty().await);
    fill(&database, TENANTS).await;
    assert_eq!(run(&database, &["migrate"]).0, Some(0));
    let files: Vec<_> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/ten"))
        .unwrap()
        .map(|file| {
            let path = file.unwrap().path();
            let name = format!("tenant/{}", path.file_name().unwrap().to_str().unwrap());
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    assert_eq!(files.len(), 10);
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let folder = Arc::new(folder_with(&files));

    let over = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(Arc::clone(&database), Arc::clone(&over)));
    let service = Service::over(&database);
    let reader = tokio::spawn({
        let over = Arc::clone(&over);
        async move {
            let tenants = (1..=TENANTS)
                .cycle()
                .zip(iter::from_fn(|| (!over.load(Ordering::Relaxed)).then_some(())));
            let mut requests = 0;
            for (tenant, ()) in tenants {
                service.get(&format!("/users/t{tenant}-u1/orders")).await.ok();
                requests += 1;
            }
            requests
        }
    });
    let arguments = ["migrate", "--canary", "t3", "--refuse-drift", "--jobs", "2"];
    let (status, output, errors) = tokio::task::spawn_blocking({
        let (database, folder) = (Arc::clone(&database), Arc::clone(&folder));
        move || run_with(&database, &folder, &arguments)
    })
    .await
    .unwrap();
    over.store(true, Ordering::Relaxed);
    assert_eq!(status, Some(0), "{output}{errors}");
    assert!(reader.await.unwrap() > 0);
    assert!(writer.await.unwrap() > 0);

    // A new tenant is the same as a migrated one.
    assert_eq!(
        run_with(&database, &folder, &["tenants", "create", "fresh"]).0,
        Some(0)
    );
    let (status, output, errors) = run_with(&database, &folder, &["tenants", "check"]);
    assert_eq!(status, Some(0), "{output}{errors}");
    let unfilled = "SELECT count(*)::text FROM t1.orders WHERE ordered_on IS NULL AND id NOT LIKE 'new %'";
    assert_eq!(database.text(unfilled).await, "0");
}
