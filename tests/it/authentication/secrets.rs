//! Secrets appear in no output, log or response.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;

use super::request;
use super::signer::{Signer, claims};
use crate::support::{ServiceProcess, TestDatabase, client, finished};

/// Part of every secret of these tests, which must not appear.
const HUSH: &str = "hush";
const SECRET: &str = "hush-hush-hush-hush-hush-hush-hush-hush";
const MAX_LOG_LEVEL: &str = "trace";

fn command(database_url: &str) -> Command {
    let mut command = ServiceProcess::command();
    command
        .env("DATABASE_URL", database_url)
        .env("JWT_SECRET", SECRET)
        .env("RUST_LOG", MAX_LOG_LEVEL);
    command
}

fn assert_contains_no_secret(text: &str) {
    let text = text.to_lowercase();
    if let Some(position) = text.find(HUSH) {
        let context: String = text
            .chars()
            .skip(position.saturating_sub(200))
            .take(400)
            .collect();
        panic!("a secret appears: {context}");
    }
}

#[test]
fn invalid_database_url_stays_secret() {
    for url in [
        "hush",
        "mysql://me:hush@db/x",
        "me:hush@db",
        "postgres://me:hush@db:port/x",
        "postgres://me:hush@db:99999/x",
        "postgres://me:hush@[::1/x",
        "postgres://me:hu#hush@db/x",
        "postgres://me:12?hush@db/x",
        "postgres://me:12?hush=x@db/x",
        "postgres://me:12/hush@db/x",
        "postgres://me:hush%ZZ@db/%FF",
        "postgres://me:%FFhush@db/x",
        "postgres://me@db/x?passwrod=hush",
        "postgres://me@db/x?Password=hush",
        "postgres://me@db/x?password=hush&pass%20word=hush",
        "postgres://me@db/x?sslmode=require&channel_binding=hush",
        "postgres://me:hush@one,two:port/x",
        "postgres:///x?host=one,two&port=1,2,3&password=hush",
    ] {
        for arguments in [
            &["serve"][..],
            &["migrate"],
            &["tenants", "list"],
            &["seed", "demo"],
        ] {
            let (status, output, errors) = finished(command(url).args(arguments));
            assert_eq!(status, Some(2), "{url}: {errors}");
            assert!(errors.contains("DATABASE_URL"), "{url}: {errors}");
            assert_contains_no_secret(&(output + &errors));
        }
    }
    let (_, _, errors) = finished(command("postgres://me@db/x?passwrod=hush").arg("migrate"));
    assert!(errors.contains("parameter passwrod"), "{errors}");
}

#[test]
fn failed_command_reveals_no_secret() {
    let unreachable = "postgres://me:hush@127.0.0.1:1/x?application_name=me";
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["token", "--help"],
        &["migrate", "--help"],
        &["--wrong"],
        &["serve", "--port", "many"],
        &["token"],
        &["migrate"],
        &["tenants", "list"],
        &["tenants", "check", "--json"],
        &["seed", "demo"],
    ] {
        let (_, output, errors) = finished(command(unreachable).args(arguments));
        assert_contains_no_secret(&(output + &errors));
    }
    let keys = tempfile::NamedTempFile::new().unwrap();
    for content in [
        "-----BEGIN PRIVATE KEY-----\nhushhush\n-----END PRIVATE KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\nhushhush\n-----END PUBLIC KEY-----\n",
        "hushhush",
        r#"{ "keys": "hushhush" }"#,
        r#"{ "keys": [{ "kty": "oct", "k": "hushhush" }] }"#,
        r#"{ "keys": [{ "kty": "RSA", "n": "hush", "e": "hush" }] }"#,
        r#"{ "keys": [{ "kty": "RSA", "n": 5, "hush": "hush" }] }"#,
    ] {
        std::fs::write(keys.path(), content).unwrap();
        let mut command = command(unreachable);
        command
            .env("JWT_SECRET", "")
            .env("JWT_PUBLIC_KEY_FILE", keys.path());
        let (status, output, errors) = finished(&mut command);
        assert_eq!(status, Some(2), "{errors}");
        assert_contains_no_secret(&(output + &errors));
    }
    let (status, output, errors) =
        finished(command("postgres://me:hush@db/x").env("JWT_PUBLIC_KEY_FILE", keys.path()));
    assert_eq!(status, Some(2));
    assert_contains_no_secret(&(output + &errors));
    let (status, output, errors) = finished(command("postgres://me:hush@db/x").env("JWT_SECRET", "hush"));
    assert_eq!(status, Some(2));
    assert_contains_no_secret(&(output + &errors));
}

/// Uses a password, the maximum log level, and tokens of all kinds.
#[tokio::test(flavor = "multi_thread")]
async fn running_service_reveals_no_secret() {
    let database = TestDatabase::demo().await;
    for database_url in [
        database.url() + "&password=hush",
        "postgres://me:hush@127.0.0.1:1/x".to_owned(),
    ] {
        let mut service = ServiceProcess::spawn(&mut command(&database_url));
        let url = service.url();
        let signer = Signer::hmac(SECRET);
        let header = json!({ "alg": "HS256", "hush": "hush" });
        let good = signer.token_with(&header, &claims(&json!({ "hush": "hush" })));
        let wrong = Signer::hmac("another").token(&claims(&json!({})));
        let mut tokens = Vec::new();
        for (path, token) in [
            ("/users/1/orders", good.clone()),
            ("/users/2/orders", good.clone()),
            ("/users/1/orders", wrong),
            ("/users/1/orders", "hush".to_owned()),
            ("/users/1/orders", "hush hush".to_owned()),
            ("/users/1/orders?access_token=hush", good),
        ] {
            let answer = client::send(request(&format!("{url}{path}"), &format!("Bearer {token}")))
                .await
                .unwrap();
            assert_contains_no_secret(&answer.text());
            assert!(!answer.text().contains(&token));
            tokens.push(token);
        }
        assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
        let log = service.read_to_end();
        assert_contains_no_secret(&log);
        assert!(log.contains("listening on"), "{log}");
        for token in tokens {
            assert!(!log.contains(&token), "a token appears");
        }
    }
}
