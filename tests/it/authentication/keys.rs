//! Files of public keys: content and rotation.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tenant_orders::authentication::Authenticator;
use tenant_orders::config::AuthenticationSettings;

use super::signer::{Signer, claims};
use super::{Guarded, replace, request};
use crate::support::{ServiceProcess, TestDatabase, client, finished, is_ci, wait_until};

pub(super) async fn open(content: &str) -> Result<Option<Authenticator>, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    let settings = AuthenticationSettings {
        jwt_public_key_file: Some(file.path().to_owned()),
        ..AuthenticationSettings::default()
    };
    Authenticator::open(&settings)
        .await
        .map_err(|error| std::error::Error::source(&error).unwrap().to_string())
}

pub(super) async fn verifies(content: &str, token: &str) -> bool {
    open(content).await.unwrap().unwrap().verify(token).await.is_ok()
}

#[tokio::test]
async fn unusable_key_file_is_refused_with_advice() {
    let pem = |name: &str| std::fs::read_to_string(keys().join(name)).unwrap();
    let set = |key: Value| json!({ "keys": [key] }).to_string();
    let mut private = Signer::ed25519().jwk("k");
    private["d"] = json!("hush");
    let mut short = Signer::rsa().jwk("k");
    short["n"] = json!("u".repeat(172));
    let truncated = |signer: Signer, size: usize| {
        let mut key = signer.jwk("k");
        key["x"] = json!(&key["x"].as_str().unwrap()[..size]);
        key
    };
    for (content, expected) in [
        (set(truncated(Signer::p256(), 40)), "damaged"),
        (set(truncated(Signer::ed25519(), 40)), "damaged"),
        (pem("rsa.pem"), "openssl pkey -in FILE -pubout"),
        (pem("rsa.pub.pem") + &pem("rsa.pem"), "private key"),
        (pem("certificate.pem"), "openssl x509"),
        (
            pem("short_rsa.pub.pem"),
            "RSA key of 1024 bits; 2048 to 8192 are required",
        ),
        (pem("p384.pub.pem"), "neither RSA, nor P-256, nor Ed25519"),
        (pem("rsa.pub.pem").replacen("MII", "MIB", 1), "damaged"),
        (String::new(), "no key"),
        ("not a key".to_owned(), "no key"),
        (set(private), "private key"),
        (set(Signer::hmac("x").jwk("k")), "JWT_SECRET"),
        (set(short), "RSA key of"),
        (json!({ "keys": [] }).to_string(), "no key"),
        (json!({ "keys": "x" }).to_string(), "JSON Web Key Set"),
        (Signer::rsa().jwk("k").to_string(), "JSON Web Key Set"),
        ("{ \"keys\": [".to_owned(), "JSON Web Key Set"),
    ] {
        let error = open(&content).await.err().unwrap();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!error.contains("hush"), "{error}");
    }
}

pub(super) fn keys() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/it/authentication/keys"
    ))
}

#[tokio::test]
async fn all_keys_of_a_pem_file_are_tried() {
    let signers = [
        Signer::rsa(),
        Signer::p256(),
        Signer::ed25519(),
        Signer::ed25519(),
    ];
    let file = signers.iter().map(Signer::public_pem).collect::<String>();
    for signer in &signers {
        let claims = claims(&json!({}));
        assert!(verifies(&file, &signer.token(&claims)).await);
        // PEM has no key ids, so the token's key id is ignored.
        let header = json!({ "alg": signer.algorithm(), "kid": "2026-11" });
        assert!(verifies(&file, &signer.token_with(&header, &claims)).await);
    }
    assert!(!verifies(&file, &Signer::ed25519().token(&claims(&json!({})))).await);
}

#[tokio::test]
async fn key_id_selects_a_key_of_the_set() {
    let signers = [
        Signer::rsa(),
        Signer::p256(),
        Signer::ed25519(),
        Signer::ed25519(),
    ];
    let ids = ["r", "p", "e1", "e2"];
    let mut set: Vec<_> = signers
        .iter()
        .zip(ids)
        .map(|(signer, id)| signer.jwk(id))
        .collect();
    // Other keys that issuers publish.
    set.push(json!({ "kty": "RSA", "kid": "x", "use": "enc", "n": "AQAB", "e": "AQAB" }));
    set.push(json!({ "kty": "RSA", "kid": "x", "alg": "RSA-OAEP", "n": "AQAB", "e": "AQAB" }));
    set.push(json!({ "kty": "OKP", "kid": "x", "crv": "X25519", "x": "AQAB" }));
    set.push(json!({ "kty": "EC", "kid": "x", "crv": "P-521", "x": "AQAB", "y": "AQAB" }));
    set.push(json!({ "kty": "new", "kid": "x" }));
    let set = json!({ "keys": set }).to_string();
    let claims = claims(&json!({}));
    for (signer, id) in signers.iter().zip(ids) {
        let with = |id: &str| signer.token_with(&json!({ "alg": signer.algorithm(), "kid": id }), &claims);
        assert!(verifies(&set, &with(id)).await, "{id}");
        assert!(verifies(&set, &signer.token(&claims)).await, "{id}");
        for other in ids.into_iter().filter(|other| *other != id) {
            assert!(!verifies(&set, &with(other)).await, "{id} as {other}");
        }
        for hostile in [
            "",
            "unknown",
            "x",
            "../../../../dev/null",
            "/proc/self/environ",
            "' OR 1=1 --",
            "e1\0",
            "http://127.0.0.1/keys",
            "R",
        ] {
            assert!(!verifies(&set, &with(hostile)).await, "{hostile}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_without_a_restart() {
    let database = TestDatabase::demo().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let (old, new) = (Signer::p256(), Signer::ed25519());
    std::fs::write(&path, old.public_pem()).unwrap();
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .env("JWT_PUBLIC_KEY_FILE", &path),
    );
    let url = service.url() + "/users/1/orders";
    let status = async |signer: &Signer| {
        let token = signer.token(&claims(&json!({})));
        let request = request(&url, &format!("Bearer {token}"));
        client::send(request).await.unwrap().status.as_u16()
    };
    let becomes = async |signer: &Signer, expected: u16| {
        wait_until("the new keys are in use", async || {
            status(signer).await == expected
        })
        .await;
    };
    assert_eq!((status(&old).await, status(&new).await), (200, 401));
    replace(&path, &(old.public_pem() + &new.public_pem()));
    becomes(&new, 200).await;
    assert_eq!(status(&old).await, 200);

    replace(&path, &new.public_pem().replace("MC", "?"));
    service.line_with("failed to reload JWT_PUBLIC_KEY_FILE; the previous keys stay in use");
    assert_eq!((status(&old).await, status(&new).await), (200, 200));
    std::fs::remove_file(&path).unwrap();
    service.line_with("failed to reload JWT_PUBLIC_KEY_FILE; the previous keys stay in use");
    assert_eq!((status(&old).await, status(&new).await), (200, 200));

    replace(&path, &json!({ "keys": [new.jwk("2026-11")] }).to_string());
    becomes(&old, 401).await;
    assert_eq!(status(&new).await, 200);
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

#[tokio::test]
async fn accepted_token_is_refused_after_its_expiry() {
    let guarded = Guarded::demo().await;
    // The leeway is one minute: the token is valid for two or three more seconds.
    let token = guarded
        .signer
        .token(&claims(&json!({ "exp": super::signer::seconds_from_now(-57) })));
    wait_until("the token has expired", async || {
        let status = guarded.get_orders(&token).await.status.as_u16();
        assert!([200, 401].contains(&status), "{status}");
        status == 401
    })
    .await;
}

/// Returns a block of commands of the documentation.
fn documented(mark: &str) -> &'static str {
    let page = include_str!("../../../docs/security.md");
    let (_, block) = page.split_once(&format!("<!-- {mark} -->\n```sh\n")).unwrap();
    block.split_once("```").unwrap().0
}

#[tokio::test]
async fn documented_commands_create_keys_and_tokens() {
    if Command::new("openssl").arg("version").output().is_err() {
        assert!(!is_ci(), "openssl is not installed");
        println!("skipped: openssl is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let run = |commands: &str| {
        let output = Command::new("sh")
            .args(["-euc", commands])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{commands}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let public = || std::fs::read_to_string(folder.path().join("public.pem")).unwrap();
    let rsa = "-algorithm RSA -pkeyopt rsa_keygen_bits:3072";
    assert!(documented("keys").contains(rsa));
    for kind in [
        "-algorithm ED25519",
        "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
    ] {
        assert!(include_str!("../../../docs/security.md").contains(kind));
        run(&documented("keys").replace(rsa, kind));
        assert!(open(&public()).await.unwrap().is_some());
    }
    run(documented("keys"));
    let token = run(documented("token"));
    assert!(verifies(&public(), token.trim()).await);
}

#[test]
fn unusable_key_file_prevents_the_start() {
    for (path, expected) in [
        (keys().join("none.pem"), "failed to read JWT_PUBLIC_KEY_FILE"),
        (keys().join("rsa.pem"), "private key"),
    ] {
        let (status, _, errors) = finished(ServiceProcess::command().env("JWT_PUBLIC_KEY_FILE", &path));
        assert_eq!(status, Some(2));
        assert!(errors.contains(expected), "{errors}");
        assert!(errors.contains(path.to_str().unwrap()), "{errors}");
    }
}
