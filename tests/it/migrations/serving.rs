//! A fleet is migrated while it is served.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::fleet::{NEW, back_to_1, count};
use super::{run, start};
use crate::support::fleet::{self, Lookup, Tenant};
use crate::support::{Answer, Service, TestDatabase};

const CLIENTS: usize = 6;

/// What came back to one client, by how it was right.
type Tally = BTreeMap<String, u32>;

/// A page of somebody's orders.
pub(super) struct Question {
    tenant: Tenant,
    user: String,
    limit: usize,
}

impl Question {
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

    /// How the answer is right. Fails where it is wrong, or is one that a lock does not explain.
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

/// Asks for the orders of all users, until `over`.
async fn client(service: Service, over: Arc<AtomicBool>) -> Tally {
    let mut tally = Tally::new();
    while !over.load(Ordering::Relaxed) {
        let question = Question::random();
        let kind = question.judge(&service.get(&question.path()).await);
        *tally.entry(kind.to_owned()).or_default() += 1;
    }
    tally
}

/// Half of the tenants have floats and no index, as they are found out there, half are like migrated
/// ones. They are adopted and migrated and taken back, again and again. `public.users` fails on a
/// connection that carries anything of another request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_wrong_while_the_fleet_is_migrated() {
    let database = TestDatabase::empty().await;
    database.execute(fleet::statements(Lookup::Plain)).await;
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
        // A report over one tenant takes its time.
        let mut report = database.connect().await;
        sqlx::raw_sql("BEGIN; SELECT FROM \"Upper\".items")
            .execute(&mut report)
            .await
            .unwrap();
        let locks = ["--jobs", "2", "--lock-timeout", "100ms"];
        let mut migration = start(&database, &[migrates, &locks].concat());
        migration.line_with("Upper: a table is in use; trying again in ");
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
    let mut tally = Tally::new();
    for client in clients {
        for (kind, answers) in client.await.unwrap() {
            *tally.entry(kind).or_default() += answers;
        }
    }
    println!("{tally:?}");
    let right = tally.get("right").copied().unwrap_or_default();
    let held_up: u32 = tally.values().sum::<u32>() - right;
    assert!(right > 100, "{tally:?}");
    // No lock was waited for longer than requests may take, so hardly any was given up.
    assert!(held_up * 20 < right, "{tally:?}");
    assert_eq!(run(&database, &["migrate"]).0, Some(0));
}
