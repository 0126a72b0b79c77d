//! An archive is of one moment, whatever others do meanwhile.

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection};
use tenant_orders::admin::archive::{self, ArchiveError, Contents};
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::{administration, export, forget, import, name};
use crate::support::{Service, ServiceProcess, TestDatabase, finished};

/// An export that goes on when it is read from.
struct SlowExport {
    file: Vec<u8>,
    rest: DuplexStream,
    export: JoinHandle<Result<Contents, ArchiveError>>,
}

impl SlowExport {
    /// Begins, as far as to the first bytes: the moment that it is of lies before them.
    async fn begin(database: &TestDatabase) -> Self {
        let (mut to, mut rest) = duplex(64);
        let database = administration(database);
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

/// All rows of the tenant's own tables.
async fn rows(database: &TestDatabase) -> String {
    let rows = "SELECT (SELECT string_agg(i::text, ' ' ORDER BY id) FROM client1.items i) || ' ' ||
                       (SELECT string_agg(o::text, ' ' ORDER BY id) FROM client1.orders o)";
    database.text(rows).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_meanwhile_is_not_in_it() {
    let database = TestDatabase::demo().await;
    let before = rows(&database).await;
    let export = SlowExport::begin(&database).await;
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
async fn migrations_wait_for_it_and_nobody_waits_for_them() {
    let database = TestDatabase::demo().await;
    database
        .execute(
            "DELETE FROM client1._sqlx_migrations WHERE version = 2; DROP INDEX client1.orders_user_id_idx;
             ALTER TABLE client1.items ALTER price TYPE double precision",
        )
        .await;
    let before = rows(&database).await;
    let export = SlowExport::begin(&database).await;
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
            .text("SELECT max(version)::text FROM client1._sqlx_migrations")
            .await,
        "2"
    );

    forget(&database, "client1").await;
    assert_eq!(import(&database, &file).await.unwrap().version, Some(1));
    assert_eq!(rows(&database).await, before);
}

/// Runs `statements` in a transaction, and an export that begins before its end.
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

/// In a snapshot from before the rewrite the table would be empty.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_somebody_rewrites_is_in_it_with_all_its_rows() {
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
async fn a_table_that_comes_while_others_are_being_locked_is_not_missed() {
    let database = TestDatabase::demo().await;
    let exported = export_during(&database, "LOCK client1.items; CREATE TABLE client1.added ()").await;
    assert!(
        matches!(exported, Err(ArchiveError::BeingChanged)),
        "{exported:?}"
    );
}
