//! Invalid and forged tokens.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tenant_orders::config::AuthenticationSettings;

use super::signer::{claims, encode_unsigned, seconds_from_now};
use super::{Guarded, SECRET, Signer};
use crate::support::TestDatabase;

#[tokio::test]
async fn every_type_of_key_verifies_its_tokens() {
    Guarded::demo().await.accepts(json!({})).await;
    for signer in [Signer::rsa(), Signer::p256(), Signer::ed25519()] {
        Guarded::by_public_key(signer).await.accepts(json!({})).await;
    }
}

#[tokio::test]
async fn unsigned_token_is_refused() {
    let guarded = Guarded::demo().await;
    for algorithm in ["none", "None", "NONE", "nOnE", ""] {
        let token = encode_unsigned(&json!({ "alg": algorithm, "typ": "JWT" }), &claims(&json!({})));
        guarded
            .refuses(&format!("{token}."), "not a well-formed, signed JSON Web Token")
            .await;
    }
    let token = encode_unsigned(&json!({ "alg": "HS256" }), &claims(&json!({})));
    guarded
        .refuses(&format!("{token}."), "verifies its signature")
        .await;
    let token = encode_unsigned(&json!({ "typ": "JWT" }), &claims(&json!({})));
    guarded
        .refuses(&format!("{token}."), "not a well-formed, signed JSON Web Token")
        .await;
    guarded
        .refuses(&token, "not a well-formed, signed JSON Web Token")
        .await;
}

#[tokio::test]
async fn public_key_is_not_used_as_a_secret() {
    for signer in [Signer::rsa(), Signer::p256(), Signer::ed25519()] {
        let pem = signer.public_pem();
        let guarded = Guarded::by_public_key(signer).await;
        for secret in [pem.as_str(), pem.trim_end()] {
            let token = Signer::hmac(secret).token(&claims(&json!({})));
            guarded.refuses(&token, "algorithm and key id").await;
        }
    }
}

#[tokio::test]
async fn token_of_another_algorithm_is_refused() {
    let signers = || [Signer::rsa(), Signer::p256(), Signer::ed25519()];
    for signer in signers() {
        let guarded = Guarded::by_public_key(signer).await;
        for other in signers() {
            let token = other.token(&claims(&json!({})));
            if other.algorithm() != guarded.signer.algorithm() {
                guarded.refuses(&token, "algorithm and key id").await;
            }
        }
    }
    let guarded = Guarded::demo().await;
    for algorithm in ["HS384", "HS512", "RS256", "PS256"] {
        let token = guarded
            .signer
            .token_with(&json!({ "alg": algorithm }), &claims(&json!({})));
        guarded.refuses(&token, "algorithm and key id").await;
    }
}

#[tokio::test]
async fn modified_token_is_refused() {
    for guarded in [
        Guarded::demo().await,
        Guarded::by_public_key(Signer::rsa()).await,
        Guarded::by_public_key(Signer::p256()).await,
        Guarded::by_public_key(Signer::ed25519()).await,
    ] {
        let good = guarded.signer.token(&claims(&json!({ "sub": "2" })));
        let mut parts = good.split('.');
        let (header, signature) = (parts.next().unwrap(), parts.nth(1).unwrap());
        let payload = BASE64URL_NOPAD.encode(claims(&json!({ "sub": "1" })).to_string().as_bytes());
        let reason = "verifies its signature";
        guarded
            .refuses(&format!("{header}.{payload}.{signature}"), reason)
            .await;
        let good = guarded.signer.token(&claims(&json!({})));
        let (message, signature) = good.rsplit_once('.').unwrap();
        let mut bytes = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        bytes[7] ^= 1;
        let forged = BASE64URL_NOPAD.encode(&bytes);
        guarded.refuses(&format!("{message}.{forged}"), reason).await;
        let cut = BASE64URL_NOPAD.encode(&bytes[..16]);
        guarded.refuses(&format!("{message}.{cut}"), reason).await;
        let zeros = BASE64URL_NOPAD.encode(&vec![0; bytes.len()]);
        guarded.refuses(&format!("{message}.{zeros}"), reason).await;
    }
}

#[tokio::test]
async fn token_of_another_key_is_refused() {
    let guarded = Guarded::demo().await;
    let other = Signer::hmac("another secret, which is long enough");
    guarded
        .refuses(&other.token(&claims(&json!({}))), "verifies its signature")
        .await;
    let guarded = Guarded::by_public_key(Signer::ed25519()).await;
    let token = Signer::ed25519().token(&claims(&json!({})));
    guarded.refuses(&token, "verifies its signature").await;
}

#[tokio::test]
async fn token_is_valid_between_nbf_and_a_required_exp() {
    let guarded = Guarded::demo().await;
    let refused = async |extra_claims: Value, reason: &str| {
        let mut claims = claims(&extra_claims);
        claims
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        guarded.refuses(&guarded.signer.token(&claims), reason).await;
    };
    refused(json!({ "exp": seconds_from_now(-300) }), "has expired").await;
    refused(json!({ "exp": 1 }), "has expired").await;
    refused(json!({ "nbf": seconds_from_now(300) }), "not valid yet").await;
    refused(json!({ "exp": null }), "lacks a required claim").await;
    for invalid in [json!("tomorrow"), json!("99999999999"), json!(-1), json!([1])] {
        refused(json!({ "exp": invalid }), "Invalid token").await;
        refused(json!({ "nbf": invalid }), "Invalid token").await;
    }
    // The leeway is one minute.
    guarded.accepts(json!({ "exp": seconds_from_now(-5) })).await;
    guarded.accepts(json!({ "nbf": seconds_from_now(30) })).await;
    guarded.accepts(json!({ "nbf": seconds_from_now(-300) })).await;
}

#[tokio::test]
async fn issuer_and_audience_must_match_the_settings() {
    let database = TestDatabase::demo().await;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let settings = AuthenticationSettings {
        jwt_issuer: names(&["https://id.example.com", "https://login.example.com/v2.0"]),
        jwt_audience: names(&["orders", "api://orders"]),
        ..AuthenticationSettings::default()
    };
    let guarded = Guarded::over_with(database.database(), settings).await;
    let good = json!({ "iss": "https://id.example.com", "aud": "orders" });
    guarded.accepts(good.clone()).await;
    guarded
        .accepts(json!({ "iss": good["iss"], "aud": ["invoices", "orders"] }))
        .await;
    guarded
        .accepts(json!({ "iss": "https://login.example.com/v2.0", "aud": "api://orders" }))
        .await;
    for (extra_claims, reason) in [
        (
            json!({ "iss": "https://id.example.com,https://login.example.com/v2.0", "aud": "orders" }),
            "issuer is not trusted",
        ),
        (
            json!({ "iss": "https://id.example.com.evil.com", "aud": "orders" }),
            "issuer is not trusted",
        ),
        (
            json!({ "iss": "https://id.example.com/", "aud": "orders" }),
            "issuer is not trusted",
        ),
        (
            json!({ "iss": good["iss"], "aud": "invoices" }),
            "another audience",
        ),
        (
            json!({ "iss": good["iss"], "aud": ["invoices"] }),
            "another audience",
        ),
        (json!({ "iss": good["iss"], "aud": [] }), "another audience"),
        (json!({ "iss": good["iss"] }), "lacks a required claim"),
        (json!({ "aud": "orders" }), "lacks a required claim"),
        (json!({ "iss": 1, "aud": "orders" }), "lacks a required claim"),
    ] {
        let answer = guarded
            .get_orders(&guarded.signer.token(&claims(&extra_claims)))
            .await;
        let body = answer.problem(401, "unauthorized");
        assert!(
            body["detail"].as_str().unwrap().contains(reason),
            "{extra_claims}: {body}"
        );
    }
    // Without a configured audience, a token with an audience is refused.
    let guarded = Guarded::over(database.database()).await;
    let token = guarded.signer.token(&claims(&json!({ "aud": "invoices" })));
    guarded.refuses(&token, "another audience").await;
    guarded.accepts(json!({ "iss": "https://id.example.com" })).await;
}

#[tokio::test]
async fn key_references_in_a_token_are_ignored() {
    let trap = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let url = format!("http://{}/keys", trap.local_addr().unwrap());
    let guarded = Guarded::by_public_key(Signer::ed25519()).await;
    let attacker = Signer::ed25519();
    for (name, value) in [
        ("jku", json!(url)),
        ("x5u", json!(url)),
        ("jwk", attacker.jwk("mine")),
        ("x5c", json!(["MIIB"])),
    ] {
        let mut header = json!({ "alg": "EdDSA" });
        header[name] = value;
        let token = attacker.token_with(&header, &claims(&json!({})));
        guarded.refuses(&token, "verifies its signature").await;
        let token = guarded.signer.token_with(&header, &claims(&json!({})));
        guarded.get_orders(&token).await.ok();
    }
    assert!(trap.accept().is_err(), "the service fetched a key");
}

#[tokio::test]
async fn token_that_requires_an_extension_is_refused() {
    let guarded = Guarded::demo().await;
    for critical in [json!(["b64"]), json!(["exp"]), json!([])] {
        let header = json!({ "alg": "HS256", "crit": critical, "b64": false });
        let token = guarded.signer.token_with(&header, &claims(&json!({})));
        guarded.refuses(&token, "requires an extension").await;
    }
}

#[tokio::test]
async fn malformed_token_is_refused() {
    let guarded = Guarded::demo().await;
    let good = guarded.signer.token(&claims(&json!({})));
    let encoded = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    for token in [
        "x".to_owned(),
        "...".to_owned(),
        "a.b.c".to_owned(),
        format!("{good}.{good}"),
        format!("{good}="),
        format!("{good}~"),
        SECRET.replace([' ', ','], ""),
        format!("{}.{}.{}", encoded("{}"), encoded("{}"), encoded("x")),
        format!("{}.{}.{}", encoded("null"), encoded("null"), encoded("x")),
    ] {
        guarded.refuses(&token, "Invalid token").await;
    }
    for payload in [json!(null), json!([]), json!("1"), claims(&json!({ "sub": 1.5 }))] {
        guarded
            .refuses(&guarded.signer.token(&payload), "Invalid token")
            .await;
    }
    // A repeated claim: two parsers can choose different values.
    let header = encoded(r#"{"alg":"HS256"}"#);
    for claims in [
        r#"{"sub":"2","sub":"1","exp":99999999999}"#,
        r#"{"sub":"1","exp":99999999999,"permissions":[],"permissions":[]}"#,
        r#"{"sub":"1","exp":99999999999,"app":[{"org":"a","org":"b"}]}"#,
    ] {
        let token = guarded
            .signer
            .sign_encoded(&format!("{header}.{}", encoded(claims)));
        guarded
            .refuses(&token, "not a well-formed, signed JSON Web Token")
            .await;
    }
}
