//! Retries of requests after the loss of a connection.

use std::time::Duration;

use super::{assert_serves, service_with_long_timeouts};
use crate::support::{Gateway, Route, TestDatabase, shared_cluster, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn request_is_retried_if_its_backend_is_terminated() {
    let database = TestDatabase::demo().await;
    let service = service_with_long_timeouts(database.url());
    let lock = database.lock("client1.items").await;
    let request = tokio::spawn(async move { service.get("/users/1/orders").await });
    database.service_is_blocked().await;
    let blocked = "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database()
                   AND wait_event_type = 'Lock' AND application_name = 'tenant-orders'";
    let backend = database.text(blocked).await;
    database
        .execute(format!("SELECT pg_terminate_backend({backend})"))
        .await;
    let remaining = format!("SELECT count(*)::text FROM pg_stat_activity WHERE pid = {backend}");
    wait_until("the backend has ended", async || {
        database.text(&remaining).await == "0"
    })
    .await;
    lock.release().await;
    assert_eq!(request.await.unwrap().ok()["total_due"], "60000.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn request_is_retried_if_its_connection_breaks() {
    let database = TestDatabase::demo().await;
    let server = |delay| Route::To(shared_cluster().socket_folder(), delay);
    let gateway = Gateway::start(server(Duration::ZERO)).await;
    let service = service_with_long_timeouts(gateway.url(database.name()));
    let lock = database.lock("client1.items").await;
    let request = tokio::spawn(async move { service.get("/users/1/orders").await });
    database.service_is_blocked().await;
    // Closes the connections of the previous route.
    gateway.set(server(Duration::from_millis(1)));
    // The first backend is still blocked: it has not noticed that its client is gone.
    database.backends_are_blocked(2).await;
    lock.release().await;
    assert_eq!(request.await.unwrap().ok()["total_due"], "60000.00");
}

#[tokio::test]
async fn connection_closed_by_the_server_while_idle_fails_no_request() {
    let database = TestDatabase::demo().await;
    if database.server_version().await < 14 {
        return; // idle_session_timeout does not exist
    }
    database
        .execute(format!(
            "ALTER DATABASE {} SET idle_session_timeout = '200ms'",
            database.name()
        ))
        .await;
    let service = service_with_long_timeouts(database.url());
    for idle in [0, 300, 400] {
        tokio::time::sleep(Duration::from_millis(idle)).await; // shorter than PING_AFTER_IDLE
        assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60000.00");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_in_transaction_timeout_fails_no_request() {
    let database = TestDatabase::demo().await;
    let slow = Route::To(shared_cluster().socket_folder(), Duration::from_millis(30));
    let gateway = Gateway::start(slow).await;
    let service = service_with_long_timeouts(gateway.url(database.name()));
    assert_serves(&service).await;
    database
        .execute(format!(
            "ALTER DATABASE {} SET idle_in_transaction_session_timeout = '10ms'",
            database.name()
        ))
        .await;
    database
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE application_name = 'tenant-orders' AND datname = current_database()",
        )
        .await;
    // No transaction waits for a message, even if each message takes longer than the timeout.
    assert_serves(&service).await;
}
