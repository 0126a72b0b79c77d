//! JSON Web Key Sets as issuers publish them.

use data_encoding::BASE64URL_NOPAD;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::keys::{open, verifies};
use super::signer::{Signer, claims};
use super::{replace, request};
use crate::support::{ServiceProcess, TestDatabase, client, wait_until};

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Returns a member of a key set that only differs from a usable one in these parameters.
fn member(signer: &Signer, parameters: &Value) -> Value {
    let mut key = signer.jwk("other");
    for (name, value) in parameters.as_object().unwrap() {
        key[name] = value.clone();
    }
    key.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    key
}

/// Returns unusable members, each with the expected reason.
fn unusable_members() -> Vec<(Value, &'static str)> {
    let (rsa, p256, ed25519) = (Signer::rsa(), Signer::p256(), Signer::ed25519());
    let short_coordinate = "A".repeat(42);
    let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let padded = format!("{}=", p256.jwk("")["x"].as_str().unwrap());
    vec![
        (member(&rsa, &json!({ "n": text(&[0xff; 128]) })), "1024 bits"),
        (member(&rsa, &json!({ "n": text(&[0xff; 1025]) })), "8200 bits"),
        (member(&rsa, &json!({ "n": text(&[0xfe; 256]) })), "damaged"),
        (member(&rsa, &json!({ "e": "AQ" })), "damaged"),
        (member(&rsa, &json!({ "e": "AQAA" })), "damaged"),
        (member(&rsa, &json!({ "e": "AQAAAAAB" })), "damaged"),
        (member(&rsa, &json!({ "e": "" })), "damaged"),
        (member(&rsa, &json!({ "n": "" })), "RSA key of 0 bits"),
        (
            member(&rsa, &json!({ "n": null, "x5c": ["MIIB"] })),
            "lacks the parameter n",
        ),
        (member(&rsa, &json!({ "e": null })), "lacks the parameter e"),
        (
            member(&p256, &json!({ "x": short_coordinate })),
            "damaged or compressed",
        ),
        (member(&p256, &json!({ "y": null })), "lacks the parameter y"),
        (
            member(&p256, &json!({ "x": padded })),
            "x is not base64url without padding",
        ),
        (member(&p256, &json!({ "crv": "P-384" })), "neither RSA"),
        (member(&p256, &json!({ "crv": "secp256k1" })), "neither RSA"),
        (member(&ed25519, &json!({ "crv": "Ed448" })), "neither RSA"),
        (member(&ed25519, &json!({ "x": "AQAB" })), "damaged"),
        (
            json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AQAB", "kid": "other" }),
            "neither RSA",
        ),
        (json!({ "kid": "other" }), "lacks the parameter kty"),
        (
            json!({ "kty": "oct", "k": "hushhush", "kid": "other" }),
            "set JWT_SECRET",
        ),
        (member(&rsa, &json!({ "use": "enc" })), "its use is not sig"),
        (member(&rsa, &json!({ "use": "SIG" })), "its use is not sig"),
        (
            member(&rsa, &json!({ "key_ops": ["encrypt", "wrapKey"] })),
            "key_ops lack verify",
        ),
        (member(&rsa, &json!({ "key_ops": [] })), "key_ops lack verify"),
        (member(&rsa, &json!({ "alg": "PS256" })), "algorithm is not RS256"),
        (member(&rsa, &json!({ "alg": "none" })), "algorithm is not RS256"),
        (
            member(&p256, &json!({ "alg": "ECDH-ES" })),
            "algorithm is not ES256",
        ),
        (
            member(&ed25519, &json!({ "alg": "HS256" })),
            "algorithm is not EdDSA",
        ),
        (member(&rsa, &json!({ "n": 5, "kid": "other" })), "wrong type"),
        (member(&rsa, &json!({ "key_ops": "verify" })), "wrong type"),
    ]
}

#[tokio::test]
async fn unusable_members_do_not_affect_the_others() {
    let good = Signer::ed25519();
    let token = good.token_with(&json!({ "alg": "EdDSA", "kid": "good" }), &claims(&json!({})));
    for (member, reason) in unusable_members() {
        for keys in [[&good.jwk("good"), &member], [&member, &good.jwk("good")]] {
            let set = json!({ "keys": keys }).to_string();
            assert!(verifies(&set, &token).await, "{member}");
        }
        let error = open(&json!({ "keys": [member] }).to_string())
            .await
            .err()
            .unwrap();
        let expected = "it contains no usable key; skipped 1: key \"other\": ";
        assert!(error.starts_with(expected), "{error}");
        assert!(error.contains(reason), "{reason}: {error}");
        assert!(!error.contains("hush"), "{error}");
    }
}

#[tokio::test]
async fn unusable_member_verifies_no_token() {
    let (good, other) = (Signer::p256(), Signer::rsa());
    let token = other.token_with(&json!({ "alg": "RS256", "kid": "other" }), &claims(&json!({})));
    for (parameters, is_verified) in [
        (json!({}), true),
        (json!({ "key_ops": ["verify"], "alg": "RS256" }), true),
        (json!({ "use": "enc" }), false),
        (json!({ "key_ops": ["sign"] }), false),
        (json!({ "alg": "RS512" }), false),
    ] {
        let keys = [good.jwk("good"), member(&other, &parameters)];
        let set = json!({ "keys": keys }).to_string();
        assert_eq!(verifies(&set, &token).await, is_verified, "{parameters}");
    }
}

#[tokio::test]
async fn error_counts_the_skipped_keys_and_describes_the_first() {
    let mut keys = vec![json!({ "kty": "RSA", "kid": 7 })];
    keys.extend((1..=25).map(|_| json!({ "kty": "RSA", "kid": "k".repeat(1000) + "\n" })));
    let error = open(&json!({ "keys": keys }).to_string()).await.err().unwrap();
    assert!(
        error.contains("skipped 26: key without kid: a parameter has the wrong type; "),
        "{error}"
    );
    assert!(error.ends_with("; and 16 more"), "{error}");
    assert!(error.len() < 2000 && !error.contains('\n'), "{error}");
}

#[tokio::test]
async fn disclosed_private_key_makes_the_set_unusable() {
    let (good, other) = (Signer::p256(), Signer::ed25519());
    let keys = [good.jwk("good"), member(&other, &json!({ "d": "hush" }))];
    let error = open(&json!({ "keys": keys }).to_string()).await.err().unwrap();
    assert!(error.contains("private key"), "{error}");
    assert!(!error.contains("hush"), "{error}");
}

#[tokio::test]
async fn leading_zero_bytes_of_an_rsa_key_are_ignored() {
    let signer = Signer::rsa();
    let token = signer.token(&claims(&json!({})));
    let mut key = signer.jwk("k");
    for name in ["n", "e"] {
        let bytes = BASE64URL_NOPAD.decode(key[name].as_str().unwrap().as_bytes());
        key[name] = json!(BASE64URL_NOPAD.encode(&[&[0, 0], bytes.unwrap().as_slice()].concat()));
    }
    assert!(verifies(&json!({ "keys": [key] }).to_string(), &token).await);
}

#[tokio::test]
async fn byte_order_mark_is_skipped() {
    let signer = Signer::p256();
    let token = signer.token(&claims(&json!({})));
    let set = json!({ "keys": [signer.jwk("k")] }).to_string();
    for content in [set, signer.public_pem()] {
        assert!(verifies(&format!("{BYTE_ORDER_MARK}{content}"), &token).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn skipped_members_are_logged_at_start_and_after_a_rotation() {
    let database = TestDatabase::demo().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let (old, new) = (Signer::p256(), Signer::ed25519());
    let set = |signer: &Signer, skipped: &str| {
        let skipped = json!({ "kty": "EC", "crv": "P-521", "kid": skipped });
        json!({ "keys": [skipped, signer.jwk("k")] }).to_string()
    };
    std::fs::write(&path, set(&old, "first")).unwrap();
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .env("JWT_PUBLIC_KEY_FILE", &path),
    );
    let url = service.url() + "/users/1/orders";
    replace(&path, &set(&new, "second"));
    wait_until("the new key is accepted", async || {
        let token = new.token(&claims(&json!({})));
        let answer = client::send(request(&url, &format!("Bearer {token}"))).await;
        answer.unwrap().status == 200
    })
    .await;
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
    let log = service.read_to_end();
    for id in ["first", "second"] {
        let expected = format!("skipped 1: key \\\"{id}\\\": it is neither RSA, nor P-256, nor Ed25519");
        assert_eq!(log.matches(&expected).count(), 1, "{log}");
    }
}
