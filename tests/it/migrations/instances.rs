//! Several services and several runs over one database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::fleet::{NEW, back_to_1, count};
use super::run_over;
use super::serving::PageRequest;
use crate::support::fleet::{self, Lookup};
use crate::support::{ServiceProcess, TestDatabase, client};

const SERVICES: usize = 3;
const MIGRATIONS: usize = 2;

/// Sends requests to all services in turn until `over`. Returns the number of right responses of each.
async fn ask(addresses: Vec<String>, over: Arc<AtomicBool>) -> [u32; SERVICES] {
    let mut right = [0; SERVICES];
    while !over.load(Ordering::Relaxed) {
        for (address, right) in addresses.iter().zip(&mut right) {
            let request = PageRequest::random();
            let answer = client::get(format!("{address}{}", request.path())).await.unwrap();
            *right += u32::from(request.judge(&answer) == "right");
        }
    }
    right
}

/// Runs migrations concurrently. Returns the statuses of each tenant.
async fn migrate_concurrently(database: &TestDatabase, arguments: &[&str]) -> BTreeMap<String, Vec<String>> {
    let runs: Vec<_> = (0..MIGRATIONS)
        .map(|_| {
            let url = database.url();
            let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
            tokio::task::spawn_blocking(move || {
                let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
                run_over(&url, &arguments)
            })
        })
        .collect();
    let mut statuses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for run in runs {
        let (status, output, errors) = run.await.unwrap();
        assert_eq!(status, Some(0), "{errors}");
        for line in output.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let [tenant, status] =
                ["tenant", "status"].map(|member| line[member].as_str().unwrap().to_owned());
            statuses.entry(tenant).or_default().push(status);
        }
    }
    statuses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_services_and_runs_do_not_disturb_each_other() {
    let database = TestDatabase::empty_with(fleet::statements(Lookup::Plain)).await;
    database
        .execute("DELETE FROM canary.users WHERE organization_id IN ('half-built', 'canary')")
        .await;
    let mut services: Vec<_> = (0..SERVICES)
        .map(|_| ServiceProcess::over(&database.url()))
        .collect();
    let addresses: Vec<_> = services.iter_mut().map(ServiceProcess::url).collect();
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..2)
        .map(|_| tokio::spawn(ask(addresses.clone(), Arc::clone(&over))))
        .collect();

    for arguments in [&["migrate", "--json", "--adopt"][..], &["migrate", "--json"]] {
        let statuses = migrate_concurrently(&database, arguments).await;
        for tenant in fleet::tenants() {
            let mut statuses = statuses[tenant.name].clone();
            statuses.sort();
            assert_eq!(statuses, ["applied", "current"], "{}", tenant.name);
        }
        assert_eq!(count(&database, NEW).await, fleet::tenants().len());
        back_to_1(&database).await;
    }

    over.store(true, Ordering::Relaxed);
    for client in clients {
        let right = client.await.unwrap();
        assert!(right.iter().all(|right| *right > 0), "{right:?}");
    }
    for service in &mut services {
        assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
    }
}
