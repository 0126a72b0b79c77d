//! Start with and without a key, and the command `token`.

use nix::sys::signal::Signal;

use super::{SECRET, request};
use crate::support::{ServiceProcess, TestDatabase, client, finished};

const UNAUTHENTICATED_WARNING: &str = "requests are not authenticated";

#[test]
fn start_beyond_loopback_needs_a_key() {
    for host in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
        let (status, _, errors) = finished(ServiceProcess::command().env("HOST", host));
        assert_eq!(status, Some(2), "{errors}");
        for setting in ["JWT_SECRET", "JWT_PUBLIC_KEY_FILE", "ALLOW_UNAUTHENTICATED=true"] {
            assert!(errors.contains(setting), "{errors}");
        }
        assert!(!errors.contains("listening"), "{errors}");
    }
    for invalid in ["1", "yes", "TRUE", " true"] {
        let (status, _, errors) = finished(
            ServiceProcess::command()
                .env("HOST", "0.0.0.0")
                .env("ALLOW_UNAUTHENTICATED", invalid),
        );
        assert_eq!(status, Some(2), "{errors}");
    }
    for unset in ["", "false"] {
        let (status, _, errors) = finished(
            ServiceProcess::command()
                .env("HOST", "0.0.0.0")
                .env("ALLOW_UNAUTHENTICATED", unset)
                .env("JWT_SECRET", "")
                .env("JWT_PUBLIC_KEY_FILE", ""),
        );
        assert_eq!(status, Some(2));
        assert!(errors.contains("refusing to listen"), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn start_without_a_key_warns() {
    let database = TestDatabase::demo().await;
    for (host, allowed) in [("127.0.0.1", "false"), ("localhost", ""), ("0.0.0.0", "true")] {
        let mut service = ServiceProcess::spawn(
            ServiceProcess::command()
                .env("DATABASE_URL", database.url())
                .env("HOST", host)
                .env("ALLOW_UNAUTHENTICATED", allowed),
        );
        service.line_with("listening on");
        assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
        let log = service.read_to_end();
        assert_eq!(log.matches(UNAUTHENTICATED_WARNING).count(), 1, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn key_requires_tokens_despite_allow_unauthenticated() {
    let database = TestDatabase::demo().await;
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .env("HOST", "0.0.0.0")
            .env("ALLOW_UNAUTHENTICATED", "true")
            .env("JWT_SECRET", SECRET),
    );
    let url = service.url().replace("0.0.0.0", "127.0.0.1");
    let answer = client::get(format!("{url}/users/1/orders")).await.unwrap();
    answer.problem(401, "unauthorized");
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
    assert!(!service.read_to_end().contains(UNAUTHENTICATED_WARNING));
}

#[test]
fn ambiguous_or_short_key_is_a_usage_error() {
    let short = "only thirty-one bytes, not more";
    for (arguments, secret, file, expected) in [
        (
            &["serve"][..],
            SECRET,
            "/dev/null",
            "JWT_SECRET and JWT_PUBLIC_KEY_FILE are set; set only",
        ),
        (&["serve"], short, "", "JWT_SECRET is shorter than 32 bytes"),
        (&["token", "1"], short, "", "JWT_SECRET is shorter than 32 bytes"),
    ] {
        let (status, _, errors) = finished(
            ServiceProcess::command()
                .args(arguments)
                .env("JWT_SECRET", secret)
                .env("JWT_PUBLIC_KEY_FILE", file),
        );
        assert_eq!(status, Some(2), "{errors}");
        assert!(errors.contains(expected), "{errors}");
        assert!(!errors.contains(secret), "{errors}");
    }
}

#[test]
fn only_one_source_of_keys_may_be_set() {
    let sources = [
        ("JWT_SECRET", SECRET),
        ("JWT_PUBLIC_KEY_FILE", "/dev/null"),
        ("JWT_JWKS_URL", "https://id.example.com/"),
    ];
    for set in [&sources[..], &sources[1..], &[sources[0], sources[2]]] {
        let (status, _, errors) = finished(ServiceProcess::command().envs(set.iter().copied()));
        assert_eq!(status, Some(2), "{errors}");
        assert!(errors.contains("set only the one that verifies"), "{errors}");
        for (name, _) in sources {
            assert_eq!(
                errors.contains(name),
                set.iter().any(|(set, _)| *set == name),
                "{errors}"
            );
        }
    }
}

#[test]
fn invalid_claim_settings_are_usage_errors() {
    for (name, value, expected) in [
        ("JWT_SUBJECT_CLAIM", "sub", "JSON pointer"),
        ("JWT_ORGANIZATION_CLAIM", "/a~", "JSON pointer"),
        ("JWT_ISSUER", "https://id.example.com,", "without empty items"),
        ("JWT_AUDIENCE", " , ", "without empty items"),
    ] {
        let (status, _, errors) = finished(ServiceProcess::command().env(name, value));
        assert_eq!(status, Some(2), "{errors}");
        assert!(errors.contains(name), "{errors}");
        assert!(errors.contains(expected), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_command_creates_valid_tokens() {
    let database = TestDatabase::demo().await;
    let settings = [
        ("JWT_SECRET", SECRET),
        ("JWT_ISSUER", "the tests, another"),
        ("JWT_AUDIENCE", "orders,another"),
        ("JWT_SUBJECT_CLAIM", "/https:~1~1example.com~1user/id"),
        (
            "JWT_ORGANIZATION_CLAIM",
            "/https:~1~1example.com~1user/organization",
        ),
    ];
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .envs(settings),
    );
    let url = service.url();
    let status = async |path: &str, arguments: &[&str]| {
        let mut command = ServiceProcess::command();
        let (status, token, errors) = finished(command.arg("token").args(arguments).envs(settings));
        assert_eq!(status, Some(0), "{errors}");
        let request = request(&format!("{url}{path}"), &format!("Bearer {}", token.trim()));
        client::send(request).await.unwrap().status.as_u16()
    };
    assert_eq!(status("/users/1/orders", &["1"]).await, 200);
    assert_eq!(status("/users/2/orders", &["1"]).await, 403);
    let office = [
        "office",
        "--scope",
        "openid orders:read:any",
        "--expires-in",
        "5m",
    ];
    assert_eq!(status("/users/2/orders", &office).await, 200);
    assert_eq!(
        status("/users/1/orders", &["1", "--organization", "client1"]).await,
        200
    );
    assert_eq!(
        status("/users/1/orders", &["1", "--organization", "client2"]).await,
        403
    );
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

#[test]
fn token_command_needs_a_secret() {
    let (status, output, errors) = finished(ServiceProcess::command().args(["token", "1"]));
    assert_eq!((status, output.as_str()), (Some(2), ""));
    assert!(errors.contains("JWT_SECRET is not set"), "{errors}");
}
