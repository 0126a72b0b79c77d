//! An archive holds one snapshot, also of large tables and while other sessions write.

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection};
use tenant_orders::admin::archive::{self, ArchiveContents, ArchiveError};
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::{admin_database, export, files, forget, import, name};
use crate::support::{Service, ServiceProcess, TestDatabase, finished};

/// An export that advances only while its output is read.
struct SlowExport {
    file: Vec<u8>,
    rest: DuplexStream,
    export: JoinHandle<Result<ArchiveContents, ArchiveError>>,
}

impl SlowExport {
    /// Starts an export and reads its first byte, which follows the snapshot.
    async fn start(database: &TestDatabase) -> Self {
        let (mut to, mut rest) = duplex(64);
        let database = admin_database(database);
        let export = tokio::spawn(async move { archive::export(&database, &name("client1"), &mut to).await });
        let mut first = [0];
        rest.read_exact(&mut first).await.unwrap();
        Self {
            file: first.to_vec(),
            rest,
            export,
        }
    }

    async fn finish(mut self) -> Vec<u8> {
        self.rest.read_to_end(&mut self.file).await.unwrap();
        self.export.await.unwrap().unwrap();
        self.file
    }
}

/// Returns all rows of the tenant's tables.
async fn rows(database: &TestDatabase) -> String {
    let rows = "SELECT (SELECT string_agg(i::text, ' ' ORDER BY id) FROM client1.items i) || ' ' ||
                       (SELECT string_agg(o::text, ' ' ORDER BY id) FROM client1.orders o)";
    database.text(rows).await
}

#[tokio::test(flavor = "multi_thread")]
async fn export_excludes_concurrent_writes() {
    let database = TestDatabase::demo().await;
    let before = rows(&database).await;
    let export = SlowExport::start(&database).await;
    database
        .execute(
            "INSERT INTO client1.items VALUES ('new'); INSERT INTO client1.orders VALUES ('new', NULL, 1, '1', 'new');
             UPDATE client1.items SET price = 1; DELETE FROM client1.orders WHERE id = '1';
             INSERT INTO public.users (id, organization_id) VALUES ('new', 'client1');",
        )
        .await;
    let file = export.finish().await;
    forget(&database, "client1").await;
    assert_eq!(import(&database, &file).await.unwrap().users, 1);
    assert_eq!(rows(&database).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_wait_for_an_export_without_blocking_requests() {
    let database = TestDatabase::demo_with(
        "DELETE FROM client1._tenant_orders_migrations WHERE version >= 2; DROP INDEX client1.orders_user_id_idx;
         ALTER TABLE client1.items ALTER price TYPE double precision",
    ).await;
    let before = rows(&database).await;
    let export = SlowExport::start(&database).await;
    let url = database.url();
    let migration = std::thread::spawn(move || {
        finished(
            ServiceProcess::command()
                .args(["migrate", "--tenant", "client1"])
                .env("DATABASE_URL", url),
        )
    });
    let service = Service::over(&database);
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60000.00");
    }
    assert!(!migration.is_finished());
    let file = export.finish().await;
    let (status, _, errors) = tokio::task::spawn_blocking(|| migration.join().unwrap())
        .await
        .unwrap();
    assert_eq!(status, Some(0), "{errors}");
    assert_eq!(
        database
            .text("SELECT max(version)::text FROM client1._tenant_orders_migrations")
            .await,
        "3"
    );

    forget(&database, "client1").await;
    assert_eq!(import(&database, &file).await.unwrap().version, Some(1));
    assert_eq!(rows(&database).await, before);
}

/// Exports while a transaction with `statements` is open, and commits it once the export waits.
async fn export_during(database: &TestDatabase, statements: &str) -> Result<Vec<u8>, ArchiveError> {
    let mut other: PgConnection = database.connect().await;
    let mut transaction = other.begin().await.unwrap();
    transaction
        .execute(sqlx::AssertSqlSafe(statements.to_owned()))
        .await
        .unwrap();
    let (exported, ()) = tokio::join!(export(database, "client1"), async {
        database.service_is_blocked().await;
        transaction.commit().await.unwrap();
    });
    exported.map(|(_, file)| file)
}

/// In a snapshot from before the rewrite, the table would be empty.
#[tokio::test(flavor = "multi_thread")]
async fn export_contains_all_rows_of_a_rewritten_table() {
    let database = TestDatabase::demo().await;
    let file = export_during(
        &database,
        "ALTER TABLE client1.items ALTER price TYPE double precision",
    )
    .await;
    let before = rows(&database).await;
    forget(&database, "client1").await;
    import(&database, &file.unwrap()).await.unwrap();
    assert_eq!(rows(&database).await, before);

    let rewrite = "ALTER TABLE public.users ALTER mail TYPE text USING mail || ''";
    let file = export_during(&database, rewrite).await.unwrap();
    forget(&database, "client1").await;
    assert_eq!(import(&database, &file).await.unwrap().users, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn export_detects_a_table_created_while_locking() {
    let database = TestDatabase::demo().await;
    let exported = export_during(&database, "LOCK client1.items; CREATE TABLE client1.added ()").await;
    assert!(
        matches!(exported, Err(ArchiveError::TablesChanged)),
        "{exported:?}"
    );
}

#[tokio::test]
async fn rows_larger_than_a_file_are_restored() {
    let database = TestDatabase::demo_with(
        "INSERT INTO client1.items (id, description)
         SELECT 'i' || n, repeat(chr(9) || n, 1000) FROM generate_series(1, 2000) n;
         INSERT INTO client1.items (id, description) VALUES ('wide', repeat(E'\\\\\\n', 10000000))",
    )
    .await;
    let digest = "SELECT md5(string_agg(md5(i::text), '' ORDER BY id)) FROM client1.items i";
    let before = database.text(digest).await;
    let (_, file) = export(&database, "client1").await.unwrap();
    let items = files(&file)
        .into_iter()
        .filter(|(path, _)| path.starts_with("tables/2-items/"));
    let (paths, contents): (Vec<_>, Vec<_>) = items.unzip();
    assert!(paths.len() >= 3, "{paths:?}");
    assert!(paths.is_sorted());
    assert!(
        contents.iter().all(|content| content.ends_with(b"\n")),
        "every file ends with a complete row"
    );
    drop(contents);
    forget(&database, "client1").await;
    import(&database, &file).await.unwrap();
    assert_eq!(database.text(digest).await, before);
}
