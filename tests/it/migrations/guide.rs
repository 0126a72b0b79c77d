//! The example of docs/migrating.md, while requests and writes continue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::folder::folder_with;
use super::run;
use crate::support::{Service, TestDatabase};

/// Returns the example's files: path in the folder, and text.
fn files() -> Vec<(&'static str, String)> {
    let guide = include_str!("../../../docs/migrating.md");
    let blocks = guide.split("```sql\n").skip(1);
    blocks
        .map(|block| {
            let (block, _) = block.split_once("```").unwrap();
            let (path, text) = block.trim_start().split_once('\n').unwrap();
            let lines: Vec<_> = text
                .lines()
                .map(|line| line.strip_prefix("   ").unwrap_or(line))
                .collect();
            (path.strip_prefix("-- ").unwrap(), lines.join("\n"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_fails_no_request_and_no_write() {
    let database = Arc::new(TestDatabase::demo().await);
    database
        .execute("INSERT INTO client1.orders (id, quantity, user_id) SELECT 'old' || n, n, '1' FROM generate_series(1, 2500) n")
        .await;
    let over = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (service, over) = (Service::over(&database), Arc::clone(&over));
        async move {
            let mut requests = 0;
            while !over.load(Ordering::Relaxed) {
                service.get("/users/1/orders?limit=5").await.ok();
                requests += 1;
            }
            requests
        }
    });
    let writer = tokio::spawn({
        let (mut connection, over) = (database.connect().await, Arc::clone(&over));
        async move {
            let mut writes = 0;
            while !over.load(Ordering::Relaxed) {
                sqlx::query("INSERT INTO client1.orders (id, quantity, user_id, item_id) VALUES ('new' || $1, 1, '1', '1')")
                    .bind(writes)
                    .execute(&mut connection)
                    .await
                    .unwrap();
                writes += 1;
            }
            writes
        }
    });
    let files = files();
    assert_eq!(files.len(), 2);
    for steps in 1..=files.len() {
        let steps: Vec<_> = files[..steps]
            .iter()
            .map(|(path, text)| (*path, text.as_str()))
            .collect();
        let folder = folder_with(&steps);
        let database = Arc::clone(&database);
        let (status, output, errors) = tokio::task::spawn_blocking(move || {
            let name = folder.path().to_str().unwrap();
            run(
                &database,
                &["migrate", "--migrations", name, "--canary", "client2"],
            )
        })
        .await
        .unwrap();
        assert_eq!(status, Some(0), "{output}{errors}");
    }
    over.store(true, Ordering::Relaxed);
    assert!(reader.await.unwrap() > 0);
    assert!(writer.await.unwrap() > 0);
    let different = "SELECT count(*)::text FROM client1.orders WHERE pieces IS DISTINCT FROM quantity";
    assert_eq!(database.text(different).await, "0");
    database
        .execute("INSERT INTO client1.orders (id, pieces) VALUES ('x', 7); UPDATE client1.orders SET pieces = 8 WHERE id = 'x'")
        .await;
    assert_eq!(
        database
            .text("SELECT quantity::text FROM client1.orders WHERE id = 'x'")
            .await,
        "8"
    );
}
