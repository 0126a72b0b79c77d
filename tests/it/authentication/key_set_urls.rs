//! Key sets at a URL: fetches, rotation and outages.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use tenant_orders::authentication::Authenticator;
use tenant_orders::config::{AuthenticationSettings, CorsSettings};
use tokio::time::{advance, pause, resume};

use super::issuer::Issuer;
use super::signer::{Signer, claims};
use super::{keys, request, unreachable_database};
use crate::support::{Service, ServiceProcess, TestDatabase, client, finished, wait_until};

/// A little more than the minimum time between two fetches for unknown key ids.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(61);
/// A little more than the time after which the keys are fetched anyway.
const REFRESH_INTERVAL: Duration = Duration::from_secs(301);

async fn open(url: String) -> Authenticator {
    let settings = AuthenticationSettings {
        jwt_jwks_url: Some(url),
        ..AuthenticationSettings::default()
    };
    Authenticator::open(&settings).await.unwrap().unwrap()
}

/// Returns a token of user 1 with this key id.
fn token(signer: &Signer, id: &str) -> String {
    let header = json!({ "alg": signer.algorithm(), "kid": id });
    signer.token_with(&header, &claims(&json!({})))
}

async fn accepts(authenticator: &Authenticator, signer: &Signer, id: &str) -> bool {
    authenticator.verify(&token(signer, id)).await.is_ok()
}

/// Moves the clock of the runtime forward. No request to the issuer may be in progress.
async fn wait_for(duration: Duration) {
    tokio::task::yield_now().await; // lets the background task begin its sleep
    pause();
    advance(duration).await;
    resume();
}

#[tokio::test]
async fn unknown_key_id_fetches_the_keys_at_most_once_a_minute() {
    let (old, new) = (Signer::p256(), Signer::ed25519());
    let issuer = Issuer::publishing(&[("old", &old)]).await;
    let authenticator = open(issuer.url()).await;
    assert!(accepts(&authenticator, &old, "old").await);
    assert_eq!(issuer.fetches(), 1);

    issuer.publish(&[("old", &old), ("new", &new)]);
    assert!(accepts(&authenticator, &new, "new").await);
    assert!(accepts(&authenticator, &old, "old").await);
    assert_eq!(issuer.fetches(), 2);

    for _ in 0..10 {
        assert!(!accepts(&authenticator, &new, "newer").await);
    }
    assert_eq!(issuer.fetches(), 2);
    issuer.publish(&[("newer", &new)]);
    assert!(!accepts(&authenticator, &new, "newer").await);
    wait_for(UNKNOWN_KEY_INTERVAL).await;
    assert!(accepts(&authenticator, &new, "newer").await);
    assert_eq!(issuer.fetches(), 3);
}

#[tokio::test]
async fn token_that_no_other_key_can_verify_causes_no_fetch() {
    let key = Signer::ed25519();
    let issuer = Issuer::publishing(&[("k", &key)]).await;
    let authenticator = open(issuer.url()).await;
    let expired = claims(&json!({ "exp": 1 }));
    for token in [
        "x".to_owned(),
        token(&Signer::ed25519(), "k"),
        Signer::ed25519().token(&claims(&json!({}))),
        key.token_with(&json!({ "alg": "EdDSA", "kid": "k" }), &expired),
        key.token_with(&json!({ "alg": "none", "kid": "unknown" }), &expired),
        key.token_with(&json!({ "alg": "EdDSA", "kid": "unknown", "crit": [] }), &expired),
    ] {
        assert!(authenticator.verify(&token).await.is_err());
    }
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn concurrent_requests_wait_for_one_fetch() {
    let (old, new) = (Signer::p256(), Signer::ed25519());
    let issuer = Issuer::publishing(&[("old", &old)]).await;
    let authenticator = open(issuer.url()).await;
    issuer.fall_silent();
    let requests: Vec<_> = (0..20)
        .map(|_| {
            let (authenticator, token) = (authenticator.clone(), token(&new, "new"));
            tokio::spawn(async move { authenticator.verify(&token).await.is_ok() })
        })
        .collect();
    issuer.is_fetched(2).await;
    // The other keys still verify.
    assert!(accepts(&authenticator, &old, "old").await);
    // A client that disconnects does not cancel the fetch.
    requests[0].abort();
    issuer.publish(&[("new", &new)]);
    for request in requests.into_iter().skip(1) {
        assert!(request.await.unwrap());
    }
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn last_keys_stay_in_use_during_an_outage() {
    let (old, new) = (Signer::p256(), Signer::ed25519());
    let issuer = Issuer::publishing(&[("old", &old)]).await;
    let authenticator = open(issuer.url()).await;
    let set = json!({ "keys": [new.jwk("new")] }).to_string();
    let padded = set.clone() + &" ".repeat(1024 * 1024);
    let mut private = new.jwk("new");
    private["d"] = json!("hush");
    for (status, body) in [
        ("500 Internal Server Error", set.as_str()),
        ("404 Not Found", &set),
        ("200 OK", "<html>"),
        ("200 OK", ""),
        ("200 OK", "{}"),
        ("200 OK", r#"{ "keys": [] }"#),
        ("200 OK", r#"{ "keys": [{ "kty": "new", "kid": "new" }] }"#),
        (
            "200 OK",
            &json!({ "keys": [new.jwk("new"), private] }).to_string(),
        ),
        ("200 OK", &padded),
        ("200 OK", &new.public_pem()),
    ] {
        issuer.respond_with(status, "x: x", body);
        let fetches = issuer.fetches();
        wait_for(UNKNOWN_KEY_INTERVAL).await;
        assert!(!accepts(&authenticator, &new, "new").await, "{status} {body:.40}");
        assert!(issuer.fetches() > fetches, "{status} {body:.40}");
        assert!(accepts(&authenticator, &old, "old").await, "{status} {body:.40}");
    }
    issuer.publish(&[("new", &new)]);
    wait_for(UNKNOWN_KEY_INTERVAL).await;
    assert!(accepts(&authenticator, &new, "new").await);
}

#[tokio::test]
async fn removed_key_is_refused_after_the_next_refresh() {
    let (old, new) = (Signer::p256(), Signer::ed25519());
    let issuer = Issuer::publishing(&[("old", &old)]).await;
    let authenticator = open(issuer.url()).await;
    issuer.publish(&[("new", &new)]);
    assert!(accepts(&authenticator, &old, "old").await);
    wait_for(REFRESH_INTERVAL).await;
    wait_until("the removed key is refused", async || {
        !accepts(&authenticator, &old, "old").await
    })
    .await;
    assert!(accepts(&authenticator, &new, "new").await);
}

#[tokio::test]
async fn only_redirects_to_the_same_host_are_followed() {
    let key = Signer::p256();
    let other = Issuer::publishing(&[("k", &key)]).await;
    let issuer = Issuer::publishing(&[]).await;
    issuer.respond_with("302 Found", &format!("location: {}", other.url()), "");
    let authenticator = open(issuer.url()).await;
    assert!(!authenticator.has_keys());
    assert_eq!((issuer.fetches(), other.fetches()), (1, 0));

    let issuer = Issuer::publishing(&[]).await;
    issuer.respond_with("302 Found", "location: /elsewhere", "");
    let authenticator = open(issuer.url()).await;
    assert!(!authenticator.has_keys());
    assert_eq!(issuer.fetches(), 6);
}

#[tokio::test]
async fn requests_get_503_until_the_keys_are_fetched() {
    let key = Signer::p256();
    let issuer = Issuer::publishing(&[]).await;
    issuer.respond_with("503 Service Unavailable", "x: x", "");
    let authenticator = open(issuer.url()).await;
    let service = Service::guarded(
        unreachable_database(),
        Some(authenticator),
        &CorsSettings::default(),
    );
    let get = async || {
        let authorization = format!("Bearer {}", token(&key, "k"));
        service.send(request("/users/1/orders", &authorization)).await
    };
    for answer in [get().await, service.get("/readyz").await] {
        answer.problem(503, "authentication-unavailable");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    service.get("/users/1/orders").await.problem(401, "unauthorized");
    service.get("/livez").await;
    issuer.publish(&[("k", &key)]);
    wait_until("the keys are fetched", async || {
        !get().await.text().contains("authentication-unavailable")
    })
    .await;
    // Both reach the database.
    for answer in [get().await, service.get("/readyz").await] {
        answer.problem(503, "database-unavailable");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_of_the_issuer_is_verified() {
    let database = TestDatabase::demo().await;
    let key = Signer::ed25519();
    let issuer = Issuer::with_tls(&[("k", &key)]).await;
    let certificate = keys::keys().join("localhost.pem");
    let other = keys::keys().join("certificate.pem");
    for (trusted, status) in [(certificate, 200), (other, 503)] {
        let mut service = ServiceProcess::spawn(
            ServiceProcess::command()
                .env("DATABASE_URL", database.url())
                .env("SSL_CERT_FILE", trusted)
                .env("JWT_JWKS_URL", issuer.url()),
        );
        let url = service.url() + "/users/1/orders";
        let authorization = format!("Bearer {}", token(&key, "k"));
        let answer = client::send(request(&url, &authorization)).await.unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
        let log = service.read_to_end();
        assert_eq!(log.contains("UnknownIssuer"), status == 503, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_waits_for_keys_at_most_its_own_time() {
    let database = TestDatabase::demo().await;
    let key = Signer::ed25519();
    let issuer = Issuer::publishing(&[("k", &key)]).await;
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .env("REQUEST_TIMEOUT", "300ms")
            .env("JWT_JWKS_URL", issuer.url()),
    );
    let url = service.url() + "/users/1/orders";
    issuer.fall_silent();
    let authorization = format!("Bearer {}", token(&key, "unknown"));
    let answer = client::send(request(&url, &authorization)).await.unwrap();
    answer.problem(504, "timeout");
    assert_eq!(issuer.fetches(), 2);
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

#[test]
fn invalid_url_prevents_the_start() {
    for (url, expected) in [
        ("http://id.example.com/hush", "https is required"),
        ("id.example.com/hush", "https://HOST/PATH is expected"),
        ("file:///hush", "https://HOST/PATH is expected"),
        ("https://me:hush@id.example.com/", "user name or password"),
    ] {
        let (status, _, errors) = finished(ServiceProcess::command().env("JWT_JWKS_URL", url));
        assert_eq!(status, Some(2), "{errors}");
        assert!(errors.contains("JWT_JWKS_URL is invalid"), "{errors}");
        assert!(errors.contains(expected), "{errors}");
        assert!(!errors.contains("hush"), "{errors}");
    }
}
