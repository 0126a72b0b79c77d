//! Overload, slow clients, and shutdown under load.

mod overload;
mod shutdown;
mod slow_clients;

use std::time::Duration;

use crate::support::client::Connection;
use crate::support::{Answer, ServiceProcess, TestDatabase};

/// Interval of polling.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

const LARGE_REQUEST: &str = "GET /users/1/orders?limit=1000 HTTP/1.1\r\nhost: x\r\n\r\n";

/// Starts the service with the settings, and without a log line for each request.
fn service(database: &TestDatabase, settings: &[(&str, &str)]) -> ServiceProcess {
    ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .env(
                "RUST_LOG",
                "warn,tenant_orders::server=info,tenant_orders::http=error",
            )
            .envs(settings.iter().copied()),
    )
}

/// Creates a database with a response of 40 MB, larger than any buffer.
async fn database_with_a_large_response() -> TestDatabase {
    TestDatabase::demo_with(
        "UPDATE client1.items SET description = repeat('x', 100000);
         INSERT INTO client1.orders (id, quantity, user_id, item_id)
         SELECT 'more-' || number, 1, '1', '1' FROM generate_series(1, 400) AS number",
    )
    .await
}

/// Asserts that a new client is served.
async fn assert_serves(url: &str) {
    let mut connection = Connection::open(url).await.unwrap();
    let answer = connection.get("/users/2/orders").await.unwrap();
    assert_eq!(answer.ok()["total_due"], "10500.00");
}

/// Returns whether the response has the orders. Asserts that it is `503 overloaded` otherwise.
fn is_served(answer: &Answer) -> bool {
    if answer.status == 503 {
        answer.problem(503, "overloaded");
        return false;
    }
    assert_eq!(answer.ok()["total_due"], "60000.00");
    true
}
