//! The separate port for probes and metrics, and the command that queries the probes.

use crate::support::client::{self, Connection};
use crate::support::{ServiceProcess, TestDatabase, finished, free_port, wait_until};

/// Runs `healthcheck` with the arguments and variables, and returns its exit status and errors.
fn healthcheck(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = ServiceProcess::command();
    command
        .arg("healthcheck")
        .args(arguments)
        .envs(variables.iter().copied());
    let (status, output, errors) = finished(&mut command);
    assert_eq!(output, "");
    (status, errors)
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_port_has_the_probes_and_the_public_port_has_not() {
    let database = TestDatabase::demo().await;
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .env("ADMIN_PORT", "0"),
    );
    let public = service.url();
    let line = service.line_with("serving probes and metrics on ");
    let (_, admin) = line.split_once("metrics on ").unwrap();
    let admin = admin.split('"').next().unwrap();
    let get = async |url: String| client::get(url).await.unwrap();
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(get(format!("{admin}{path}")).await.status, 200, "{path}");
        get(format!("{public}{path}")).await.problem(404, "not-found");
    }
    for path in ["/users/1/orders", "/", "/openapi.json"] {
        get(format!("{admin}{path}")).await.problem(404, "not-found");
        assert_eq!(get(format!("{public}{path}")).await.status, 200, "{path}");
    }
    let document = get(format!("{public}/openapi.json")).await.ok();
    let mut paths = document["paths"].as_object().unwrap().keys();
    assert!(paths.all(|path| path.starts_with("/users/")), "{document}");
    let metrics = get(format!("{admin}/metrics")).await.text();
    let orders =
        "tenant_orders_http_request_duration_seconds_count{method=\"GET\",route=\"/users/{id}/orders\"";
    assert!(metrics.contains(orders), "{metrics}");
}

#[test]
fn admin_port_differs_from_port() {
    let port = free_port().to_string();
    for admin_host in ["", "127.0.0.1"] {
        let (status, _, errors) = finished(
            ServiceProcess::command()
                .env("DATABASE_URL", "postgres://user@127.0.0.1:1/nothing")
                .envs([
                    ("PORT", port.as_str()),
                    ("ADMIN_PORT", port.as_str()),
                    ("ADMIN_HOST", admin_host),
                ]),
        );
        assert_eq!(status, Some(2), "{errors}");
        assert!(
            errors.contains(&format!(
                "PORT and ADMIN_PORT are both {port}; set different ports"
            )),
            "{errors}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_of_the_admin_port_respond_during_overload() {
    let database = TestDatabase::demo().await;
    let (port, admin_port) = (free_port().to_string(), free_port().to_string());
    let settings = [
        ("PORT", port.as_str()),
        ("ADMIN_PORT", &admin_port),
        ("DATABASE_MAX_CONNECTIONS", "1"),
        ("MAX_CLIENT_CONNECTIONS", "1"),
    ];
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .env("STATEMENT_TIMEOUT", "1m")
            .env("REQUEST_TIMEOUT", "1m")
            .envs(settings),
    );
    let url = service.url();
    let lock = database.lock("client1.items").await;
    // Takes the only connection of either kind.
    let blocked = tokio::spawn({
        let mut connection = Connection::open(&url).await.unwrap();
        async move { connection.get("/users/1/orders").await.unwrap() }
    });
    database.service_is_blocked().await;
    let answer = client::get(format!("{url}/livez")).await.unwrap();
    answer.problem(503, "overloaded"); // the public port has no probe
    for path in ["/livez", "/readyz"] {
        let answer = client::get(format!("http://127.0.0.1:{admin_port}{path}"))
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    assert_eq!(healthcheck(&["--ready"], &settings).0, Some(0));
    lock.release().await;
    blocked.await.unwrap().ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_queries_the_running_service() {
    let port = free_port().to_string();
    let settings = [("PORT", port.as_str())];
    let (status, errors) = healthcheck(&[], &settings);
    assert_eq!(status, Some(1));
    let expected = format!("error: failed to query http://127.0.0.1:{port}/livez\n");
    assert!(errors.starts_with(&expected), "{errors}");

    let mut command = ServiceProcess::command();
    command
        .env("DATABASE_URL", "postgres://user@127.0.0.1:1/nothing")
        .env("ACQUIRE_TIMEOUT", "100ms")
        .env("HOST", "0.0.0.0")
        .env("ALLOW_UNAUTHENTICATED", "true")
        .envs(settings);
    let mut service = ServiceProcess::spawn(&mut command);
    service.url();
    let settings = [("PORT", port.as_str()), ("HOST", "0.0.0.0")];
    wait_until("the service is alive", async || {
        healthcheck(&[], &settings).0 == Some(0)
    })
    .await;
    // Without a database, the service is alive but not ready.
    let (status, errors) = healthcheck(&["--ready"], &settings);
    assert_eq!(status, Some(1));
    assert!(
        errors.contains("/readyz responded with: HTTP/1.1 503"),
        "{errors}"
    );
}
