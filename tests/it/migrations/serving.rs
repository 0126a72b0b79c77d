//! Requests during migrations.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::fleet::{NEW, back_to_1, count};
use super::{run, start};
use crate::support::fleet::{self, Lookup, Tenant};
use crate::support::{Answer, Service, TestDatabase};

const CLIENTS: usize = 6;

/// Number of responses by kind.
type Responses = BTreeMap<String, u32>;

/// A request for a page of a user's orders.
pub(super) struct PageRequest {
    tenant: Tenant,
    user: String,
    limit: usize,
}

impl PageRequest {
    pub(super) fn random() -> Self {
        let tenants: Vec<_> = fleet::tenants().collect();
        let tenant = fastrand::choice(tenants).unwrap();
        let user = fastrand::choice(tenant.users().collect::<Vec<_>>()).unwrap();
        let limit = fastrand::choice([1, 2, 100]).unwrap();
        Self { tenant, user, limit }
    }

    pub(super) fn path(&self) -> String {
        format!("/users/{}/orders?limit={}", self.user, self.limit)
    }

    /// Returns the kind of the response. Panics if it is wrong, or is an error that a lock does not explain.
    pub(super) fn judge(&self, answer: &Answer) -> &'static str {
        if answer.status == 200 {
            let mut page = answer.ok();
            page.as_object_mut().unwrap().remove("next_cursor").unwrap();
            assert_eq!(page, self.tenant.page(&self.user, 0, self.limit));
            "right"
        } else if answer.status == 504 {
            answer.problem(504, "timeout");
            "timed out"
        } else {
            answer.problem(503, "database-unavailable");
            "unavailable"
        }
    }
}

/// Requests the orders of random users until `over`.
async fn client(service: Service, over: Arc<AtomicBool>) -> Responses {
    let mut responses = Responses::new();
    while !over.load(Ordering::Relaxed) {
        let request = PageRequest::random();
        let kind = request.judge(&service.get(&request.path()).await);
        *responses.entry(kind.to_owned()).or_default() += 1;
    }
    responses
}

/// Half of the tenants have floats and no index, as existing databases do; half are like migrated ones. They
/// are adopted, migrated and reverted several times. `public.users` raises an error on a connection that
/// carries state of another request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_during_migrations_are_right() {
    let database = TestDatabase::empty_with(fleet::statements(Lookup::Plain)).await;
    database
        .execute("DELETE FROM canary.users WHERE organization_id IN ('half-built', 'canary')")
        .await;
    let service = Service::over(&database);
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(client(service.clone(), Arc::clone(&over))))
        .collect();

    let mut rounds = 0;
    for migrates in [&["migrate", "--adopt"][..], &["migrate"], &["migrate"]] {
        // A slow report holds a lock on one tenant.
        let mut report = database.connect().await;
        sqlx::raw_sql("BEGIN; SELECT FROM \"Upper\".items")
            .execute(&mut report)
            .await
            .unwrap();
        let locks = ["--jobs", "2", "--lock-timeout", "1s"];
        let mut migration = start(&database, &[migrates, &locks].concat());
        migration.line_with("Upper: a table is locked by another session; retrying in ");
        tokio::time::sleep(Duration::from_millis(300)).await;
        sqlx::raw_sql("COMMIT").execute(&mut report).await.unwrap();
        let status = tokio::task::block_in_place(|| migration.wait());
        assert_eq!(status.code(), Some(0), "{}", migration.read_to_end());
        assert_eq!(count(&database, NEW).await, fleet::tenants().len());
        back_to_1(&database).await;
        rounds += 1;
    }
    assert_eq!(rounds, 3);

    over.store(true, Ordering::Relaxed);
    let mut responses = Responses::new();
    for client in clients {
        for (kind, answers) in client.await.unwrap() {
            *responses.entry(kind).or_default() += answers;
        }
    }
    println!("{responses:?}");
    let right = responses.get("right").copied().unwrap_or_default();
    let held_up: u32 = responses.values().sum::<u32>() - right;
    assert!(right > 100, "{responses:?}");
    // The lock timeout is shorter than the request timeout, so that few requests fail.
    assert!(held_up * 20 < right, "{responses:?}");
    assert_eq!(run(&database, &["migrate"]).0, Some(0));
}
