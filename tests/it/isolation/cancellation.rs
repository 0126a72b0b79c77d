//! Isolation after timeouts and client disconnects.

use std::time::{Duration, Instant};

use tenant_orders::config::{DatabaseUrl, PoolSettings};
use tenant_orders::users::UserDirectory;

use super::{assert_backends_become_idle, assert_is_page_of, fleet_database};
use crate::support::{Gateway, Route, Service, fleet, shared_cluster};

#[tokio::test]
async fn cancelled_request_leaves_no_search_path() {
    let database = fleet_database().await;
    let settings = PoolSettings {
        database_max_connections: 2,
        ..PoolSettings::default()
    };
    let pool = database.database_with(&settings);
    let locked = fleet::tenants().next().unwrap();
    let path = format!("/users/{}/orders", locked.users().next().unwrap());
    let lock = database.lock(&format!("{}.orders", locked.quoted())).await;
    let cancelling_service = Service::with(pool.clone(), Duration::from_millis(50), 1024);
    for _ in 0..5 {
        cancelling_service.get(&path).await.problem(504, "timeout");
    }
    // The request of a disconnected client runs to its end in its own task.
    let service = Service::new(pool);
    let disconnected = tokio::time::timeout(Duration::from_millis(50), service.get(&path)).await;
    assert!(disconnected.is_err());
    lock.release().await;
    for tenant in fleet::tenants() {
        let user = tenant.users().next().unwrap();
        let answer = service.get(&format!("/users/{user}/orders")).await;
        assert_is_page_of(&answer, tenant, &user);
    }
    assert_backends_become_idle(&database).await;
}

/// A route with delayed messages, so that a timeout can end a request while a message is in transit.
fn slow_route() -> Route {
    Route::To(shared_cluster().socket_folder(), Duration::from_millis(3))
}

#[tokio::test]
async fn request_cancelled_at_any_point_leaves_no_search_path() {
    let database = fleet_database().await;
    let gateway = Gateway::start(slow_route()).await;
    let settings = PoolSettings {
        database_max_connections: 1,
        ..PoolSettings::default()
    };
    let url = DatabaseUrl::from(gateway.url(database.name()));
    let pool = UserDirectory::open(&url, &settings).unwrap();
    let patient_service = Service::new(pool.clone());
    let (mut cancelled, mut finished) = (0, 0);
    // The timeouts are fractions of the time that a request takes on this machine.
    let mut usual = Duration::from_millis(20);
    for (tenant, sevenths) in fleet::tenants().zip((1..=10).cycle()) {
        let user = tenant.users().next().unwrap();
        let path = format!("/users/{user}/orders");
        let cancelling_service = Service::with(pool.clone(), usual * sevenths / 7, 1024);
        let answer = cancelling_service.get(&path).await;
        if answer.status == 200 {
            finished += 1;
            assert_is_page_of(&answer, tenant, &user);
        } else {
            cancelled += 1;
            answer.problem(504, "timeout");
            assert_backends_become_idle(&database).await;
        }
        // The view public.users fails on a connection with the search path of an earlier request.
        let start = Instant::now();
        assert_is_page_of(&patient_service.get(&path).await, tenant, &user);
        usual = start.elapsed();
    }
    assert!(
        cancelled > 10 && finished > 0,
        "{cancelled} cancelled, {finished} finished"
    );
    assert_backends_become_idle(&database).await;
}
