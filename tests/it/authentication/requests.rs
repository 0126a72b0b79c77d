//! The token in a request.

use axum::body::Body;
use axum::http::{Method, Request};
use insta::assert_json_snapshot;
use nix::sys::signal::Signal;
use serde_json::json;

use super::signer::claims;
use super::{Guarded, INVALID_REQUEST, SECRET, TOKEN_REQUIRED, request, unreachable_database};
use crate::support::client::Connection;
use crate::support::{ServiceProcess, TestDatabase, snapshot};

const PATH: &str = "/users/1/orders";

#[tokio::test]
async fn missing_token_is_refused_before_anything_else() {
    let guarded = Guarded::over(unreachable_database()).await;
    for path in [PATH, "/users/1/orders?limit=0", "/users/%FF/orders"] {
        for method in [Method::GET, Method::HEAD] {
            let answer = guarded.service.request(method, path).await;
            assert_eq!(answer.status, 401);
            assert_eq!(answer.header("www-authenticate"), Some(TOKEN_REQUIRED));
        }
    }
    assert_json_snapshot!(snapshot(&guarded.service.get(PATH).await), @r#"
    {
      "body": {
        "detail": "A bearer token is required: send the header Authorization: Bearer TOKEN.",
        "instance": "/users/1/orders",
        "request_id": "[request id]",
        "status": 401,
        "title": "Unauthorized",
        "type": "/problems/unauthorized"
      },
      "headers": {
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "content-type": "application/problem+json",
        "referrer-policy": "no-referrer",
        "www-authenticate": "Bearer realm=\"tenant-orders\"",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "x-request-id": "[request id]"
      },
      "status": 401
    }
    "#);
    for another_scheme in ["Basic dTpw", "Digest username=x", "BearerX abc", "token", ""] {
        let answer = guarded.service.send(request(PATH, another_scheme)).await;
        answer.problem(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), Some(TOKEN_REQUIRED));
    }
}

#[tokio::test]
async fn scheme_is_case_insensitive() {
    let guarded = Guarded::demo().await;
    let token = guarded.signer.token(&claims(&json!({})));
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let answer = guarded
            .service
            .send(request(PATH, &format!("{scheme} {token}")))
            .await;
        answer.ok();
    }
    guarded
        .service
        .send(request(PATH, &format!("Bearer   {token} ")))
        .await
        .ok();
}

#[tokio::test]
async fn malformed_header_is_a_bad_request() {
    let guarded = Guarded::demo().await;
    let token = guarded.signer.token(&claims(&json!({})));
    for header in [
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer {token} {token}"),
        format!("Bearer {token},Bearer {token}"),
        format!("Bearer \"{token}\""),
        format!("Bearer {token}\t"),
        format!("Bearer {token}é"),
        format!("Bearer token={token}"),
    ] {
        let answer = guarded.service.send(request(PATH, &header)).await;
        if header.starts_with("Bearer token=") {
            answer.problem(401, "unauthorized");
            continue;
        }
        answer.problem(400, "bad-request");
        assert_eq!(
            answer.header("www-authenticate"),
            Some(INVALID_REQUEST),
            "{header}"
        );
    }
}

#[tokio::test]
async fn repeated_token_is_a_bad_request() {
    let guarded = Guarded::demo().await;
    let token = guarded.signer.token(&claims(&json!({})));
    let bearer = format!("Bearer {token}");
    for other in [bearer.as_str(), "Bearer x", "Basic dTpw"] {
        for headers in [[&bearer, other], [other, &bearer]] {
            let request = headers.into_iter().fold(Request::get(PATH), |request, header| {
                request.header("authorization", header)
            });
            let answer = guarded.service.send(request.body(Body::empty()).unwrap()).await;
            answer.problem(400, "bad-request");
            assert_eq!(answer.header("www-authenticate"), Some(INVALID_REQUEST));
        }
    }
    let twice = format!("{PATH}?limit=1&access_token={token}");
    let answer = guarded.service.send(request(&twice, &bearer)).await;
    answer.problem(400, "bad-request");
}

#[tokio::test]
async fn token_in_the_query_is_ignored() {
    let guarded = Guarded::demo().await;
    let token = guarded.signer.token(&claims(&json!({})));
    for query in ["access_token", "token", "authorization", "jwt"] {
        let answer = guarded.service.get(&format!("{PATH}?{query}={token}")).await;
        answer.problem(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), Some(TOKEN_REQUIRED));
        assert!(!answer.text().contains(&token));
    }
}

#[tokio::test]
async fn probes_pages_and_unknown_paths_need_no_token() {
    let guarded = Guarded::demo().await;
    for path in ["/livez", "/readyz", "/", "/docs", "/openapi.json"] {
        assert_eq!(guarded.service.get(path).await.status, 200, "{path}");
    }
    guarded.service.get("/users").await.problem(404, "not-found");
}

/// The service has one permit, which another request holds.
#[tokio::test]
async fn refused_request_takes_no_permit() {
    let database = TestDatabase::demo().await;
    let guarded = Guarded::over(database.database()).await;
    let lock = database.lock("client1.orders").await;
    let token = guarded.signer.token(&claims(&json!({})));
    let (answer, ()) = tokio::join!(guarded.get_orders(&token), async {
        database.service_is_blocked().await;
        guarded.service.get(PATH).await.problem(401, "unauthorized");
        guarded
            .get("/users/2/orders", &token)
            .await
            .problem(403, "forbidden");
        guarded.get_orders(&token).await.problem(503, "overloaded");
        lock.release().await;
    });
    answer.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_token_is_refused() {
    let database = TestDatabase::demo().await;
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .env("JWT_SECRET", SECRET),
    );
    let url = service.url();
    let token = |claims| super::Signer::hmac(SECRET).token(&claims);
    let send = async |token: &str| {
        let mut connection = Connection::open(&url).await.unwrap();
        let head = format!("GET {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
        // The service may close the connection before all is sent.
        let _ = connection.send(head).await;
        connection.answer().await
    };
    // Issuers can create long tokens.
    let long = token(claims(&json!({ "groups": "g".repeat(8000) })));
    send(&long).await.unwrap().ok();
    let too_long = token(claims(&json!({ "groups": "g".repeat(64 * 1024) })));
    if let Ok(answer) = send(&too_long).await {
        assert_eq!(answer.status, 431);
    }
    send(&token(claims(&json!({})))).await.unwrap().ok();
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusal_is_logged_with_its_reason_but_without_the_token() {
    const REFUSALS: usize = 20;
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", "postgres://me@127.0.0.1:1/nothing")
            .env("JWT_SECRET", SECRET),
    );
    let url = service.url() + PATH;
    let header = json!({ "alg": "HS256", "kid": format!("2026-11\n{}", "k".repeat(1000)) });
    let claims = claims(&json!({ "exp": 1, "iss": "https://id.example.com" }));
    let token = super::Signer::hmac(SECRET).token_with(&header, &claims);
    for _ in 0..REFUSALS {
        let request = request(&url, &format!("Bearer {token}"));
        let answer = crate::support::client::send(request).await.unwrap();
        answer.problem(401, "unauthorized");
    }
    let line = service.line_with("refused a token");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let kid = format!("2026-11\n{}", "k".repeat(56));
    for (name, expected) in [
        ("refused", json!(1)),
        ("reason", json!("it has expired")),
        ("kid", json!(kid)),
        ("iss", json!("https://id.example.com")),
    ] {
        assert_eq!(line[name], expected, "{line}");
    }
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
    let log = service.read_to_end();
    assert!(log.matches("refused a token").count() < REFUSALS, "{log}");
    assert!(!log.contains(&token[token.len() - 20..]), "{log}");
}
