//! Who is asked for a token at all, and the command that makes one.

use nix::sys::signal::Signal;

use super::{SECRET, request};
use crate::support::{ServiceProcess, TestDatabase, client, finished};

const NOBODY_IS_ASKED: &str = "requests are not authenticated";

#[test]
fn without_a_key_nothing_beyond_loopback_is_listened_on() {
    for host in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
        let (status, _, errors) = finished(ServiceProcess::command().env("HOST", host));
        assert_eq!(status, Some(2), "{errors}");
        for told in ["JWT_SECRET", "JWT_PUBLIC_KEY_FILE", "ALLOW_UNAUTHENTICATED=true"] {
            assert!(errors.contains(told), "{errors}");
        }
        assert!(!errors.contains("listening"), "{errors}");
    }
    for not_quite in ["1", "yes", "TRUE", " true"] {
        let (status, _, errors) = finished(
            ServiceProcess::command()
                .env("HOST", "0.0.0.0")
                .env("ALLOW_UNAUTHENTICATED", not_quite),
        );
        assert_eq!(status, Some(2), "{errors}");
    }
    for none in ["", "false"] {
        let (status, _, errors) = finished(
            ServiceProcess::command()
                .env("HOST", "0.0.0.0")
                .env("ALLOW_UNAUTHENTICATED", none)
                .env("JWT_SECRET", "")
                .env("JWT_PUBLIC_KEY_FILE", ""),
        );
        assert_eq!(status, Some(2));
        assert!(errors.contains("refusing to listen"), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_on_loopback_alone_or_says_that_it_is_meant_is_warned() {
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
        let told = service.read_to_end();
        assert_eq!(told.matches(NOBODY_IS_ASKED).count(), 1, "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_tokens_are_needed_whatever_else_is_allowed() {
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
    assert!(!service.read_to_end().contains(NOBODY_IS_ASKED));
}

#[test]
fn keys_that_leave_the_choice_to_the_token_or_can_be_guessed_are_wrong_usage() {
    let short = "only thirty-one bytes, not more";
    for (arguments, secret, file, told) in [
        (&["serve"][..], SECRET, "/dev/null", "are both set"),
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
        assert!(errors.contains(told), "{errors}");
        assert!(!errors.contains(secret), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_trying_is_made_by_a_command() {
    let database = TestDatabase::demo().await;
    let settings = [
        ("JWT_SECRET", SECRET),
        ("JWT_ISSUER", "the tests"),
        ("JWT_AUDIENCE", "orders"),
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
fn without_a_secret_the_command_says_who_makes_tokens() {
    let (status, output, errors) = finished(ServiceProcess::command().args(["token", "1"]));
    assert_eq!((status, output.as_str()), (Some(2), ""));
    assert!(errors.contains("JWT_SECRET is not set"), "{errors}");
}
