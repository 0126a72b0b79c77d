//! Authentication and authorization: tokens, attacks on them, and the orders that they grant access to.

mod authorization;
mod issuer;
mod key_set_urls;
mod key_sets;
mod keys;
mod requests;
mod secrets;
mod signer;
mod start;
mod tokens;

use std::path::Path;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::AUTHORIZATION;
use serde_json::{Value, json};
use tenant_orders::authentication::Authenticator;
use tenant_orders::config::{AuthenticationSettings, CorsSettings, DatabaseUrl, PoolSettings};
use tenant_orders::users::UserDirectory;

use crate::support::{Answer, Service, TestDatabase};
use signer::{Signer, claims};

const SECRET: &str = "a secret of the tests, long enough";
const TOKEN_REQUIRED: &str = r#"Bearer realm="tenant-orders""#;
const INVALID_TOKEN: &str = r#"Bearer realm="tenant-orders", error="invalid_token""#;
const INVALID_REQUEST: &str = r#"Bearer realm="tenant-orders", error="invalid_request""#;
const INSUFFICIENT_SCOPE: &str =
    r#"Bearer realm="tenant-orders", error="insufficient_scope", scope="orders:read:any""#;

/// A service that requires tokens, and their signer.
struct Guarded {
    service: Service,
    signer: Signer,
}

impl Guarded {
    /// Uses the demo data and a secret.
    async fn demo() -> Self {
        Self::over(TestDatabase::demo().await.database()).await
    }

    /// Uses a secret.
    async fn over(database: UserDirectory) -> Self {
        Self::over_with(database, AuthenticationSettings::default()).await
    }

    /// Uses a secret and these settings.
    async fn over_with(database: UserDirectory, settings: AuthenticationSettings) -> Self {
        let settings = AuthenticationSettings {
            jwt_secret: Some(SECRET.into()),
            ..settings
        };
        Self::with(database, &settings, Signer::hmac(SECRET)).await
    }

    /// Uses the demo data and the signer's public key in a PEM file.
    async fn by_public_key(signer: Signer) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), signer.public_pem()).unwrap();
        let settings = AuthenticationSettings {
            jwt_public_key_file: Some(file.path().to_owned()),
            ..AuthenticationSettings::default()
        };
        Self::with(TestDatabase::demo().await.database(), &settings, signer).await
    }

    async fn with(database: UserDirectory, settings: &AuthenticationSettings, signer: Signer) -> Self {
        let authenticator = Authenticator::open(settings).await.unwrap();
        assert!(authenticator.is_some());
        Self {
            service: Service::guarded(database, authenticator, &CorsSettings::default()),
            signer,
        }
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        self.service.send(request(path, &format!("Bearer {token}"))).await
    }

    /// Requests the orders of user 1.
    async fn get_orders(&self, token: &str) -> Answer {
        self.get("/users/1/orders", token).await
    }

    /// Asserts that a token with these claims is accepted.
    async fn accepts(&self, extra_claims: Value) {
        let token = self.signer.token(&claims(&extra_claims));
        assert_eq!(self.get_orders(&token).await.ok()["total_due"], "60000.00");
    }

    /// Asserts that a token is refused for this reason.
    async fn refuses(&self, token: &str, reason: &str) {
        self.accepts(json!({})).await;
        let answer = self.get_orders(token).await;
        let body = answer.problem(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), Some(INVALID_TOKEN));
        let detail = body["detail"].as_str().unwrap();
        assert!(detail.contains(reason), "{detail}");
    }
}

/// Replaces the file atomically, as a deployment does.
fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, path).unwrap();
}

fn request(path: &str, authorization: &str) -> Request<Body> {
    Request::get(path)
        .header(AUTHORIZATION, authorization)
        .body(Body::empty())
        .unwrap()
}

/// Returns a database that cannot be reached: requests that use it get 503.
fn unreachable_database() -> UserDirectory {
    let url = DatabaseUrl::from("postgres://me@127.0.0.1:1/nothing".to_owned());
    UserDirectory::open(&url, &PoolSettings::default()).unwrap()
}
