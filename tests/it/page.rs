//! The web page and the API document.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::Value;
use tenant_orders::config::{DatabaseUrl, PoolSettings};
use tenant_orders::users::UserDirectory;

use crate::support::{Service, TestDatabase};

const FILES: [(&str, &str); 10] = [
    ("/", "text/html; charset=utf-8"),
    ("/docs", "text/html; charset=utf-8"),
    ("/openapi.json", "application/json"),
    ("/assets/page.css", "text/css; charset=utf-8"),
    ("/assets/page.js", "text/javascript; charset=utf-8"),
    ("/assets/api.js", "text/javascript; charset=utf-8"),
    ("/assets/numbers.js", "text/javascript; charset=utf-8"),
    ("/assets/docs.css", "text/css; charset=utf-8"),
    ("/assets/docs.js", "text/javascript; charset=utf-8"),
    ("/assets/icon.svg", "image/svg+xml"),
];

async fn api_document(service: &Service) -> Value {
    service.get("/openapi.json").await.ok()
}

#[tokio::test]
async fn files_are_served_with_an_etag() {
    let service = Service::over(&TestDatabase::empty().await);
    for (path, content_type) in FILES {
        let answer = service.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.header("content-type"), Some(content_type));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(!answer.body.is_empty());
        let etag = answer.header("etag").unwrap();

        let head = service.request(Method::HEAD, path).await;
        assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
        assert_eq!(head.header("etag"), Some(etag));
        assert_eq!(
            head.header("content-length"),
            Some(answer.body.len().to_string().as_str())
        );

        let strong = etag.strip_prefix("W/").unwrap();
        for (if_none_match, status) in [
            (etag.to_owned(), StatusCode::NOT_MODIFIED),
            (format!("\"other\", {strong}"), StatusCode::NOT_MODIFIED),
            ("*".to_owned(), StatusCode::NOT_MODIFIED),
            ("\"other\"".to_owned(), StatusCode::OK),
        ] {
            let request = Request::get(path).header("if-none-match", &if_none_match);
            let again = service.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(again.status, status, "{path} with {if_none_match}");
            assert_eq!(again.header("etag"), Some(etag));
        }

        let refused = service.request(Method::POST, path).await;
        refused.problem(405, "method-not-allowed");
        assert_eq!(refused.header("allow"), Some("GET,HEAD"));
    }
}

#[tokio::test]
async fn pages_load_only_their_own_files() {
    let service = Service::over(&TestDatabase::empty().await);
    for path in ["/", "/docs"] {
        let page = service.get(path).await;
        let policy = page.header("content-security-policy").unwrap();
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(rule), "{rule}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        let text = page.text();
        for (start, _) in text
            .match_indices(" src=\"")
            .chain(text.match_indices(" href=\""))
        {
            let target = text[start..].split('"').nth(1).unwrap();
            // Relative to the page, so that they work behind a proxy that removes a prefix of the path.
            assert!(!target.starts_with('/') && !target.contains(':'), "{target}");
            let path = format!("/{}", target.trim_start_matches("./"));
            assert_eq!(
                service.get(&path).await.status == StatusCode::OK,
                path != "/users/1/orders" // the database is empty
            );
        }
        assert!(!text.contains("<style") && !text.contains(" style="), "{path}");
    }
}

#[tokio::test]
async fn scripts_request_only_relative_addresses() {
    let service = Service::over(&TestDatabase::empty().await);
    for path in ["/assets/page.js", "/assets/api.js", "/assets/docs.js"] {
        let script = service.get(path).await.text();
        for absolute in ["fetch(\"/", "fetch(`/", "= `/", "\"\", `/", "location.origin"] {
            assert!(!script.contains(absolute), "{path}: {absolute}");
        }
    }
    let document = api_document(&service).await;
    assert_eq!(document["servers"][0]["url"], ".");
}

#[tokio::test]
async fn files_are_served_without_a_database() {
    let unreachable = DatabaseUrl::from("postgres://me@127.0.0.1:1/nothing".to_owned());
    let service = Service::new(UserDirectory::open(&unreachable, &PoolSettings::default()).unwrap());
    for (path, _) in FILES {
        assert_eq!(service.get(path).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn api_document_and_readme_list_every_problem() {
    let document = api_document(&Service::over(&TestDatabase::empty().await)).await;
    assert_eq!(document["openapi"], "3.1.0");
    let known: BTreeSet<_> = document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    let mut documented = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (status, answer) in operations["get"]["responses"].as_object().unwrap() {
            assert!(answer["headers"]["x-request-id"].is_object(), "{path} {status}");
            if status.starts_with('2') {
                continue;
            }
            let examples = &answer["content"]["application/problem+json"]["examples"];
            for (name, example) in examples.as_object().unwrap() {
                let example = &example["value"];
                assert_eq!(example["type"], format!("/problems/{name}"));
                assert_eq!(example["status"].to_string(), *status, "{path} {name}");
                documented.insert(format!("/problems/{name}"));
            }
        }
    }
    assert_eq!(documented, known);
    let readme = include_str!("../../README.md");
    let listed: BTreeSet<_> = readme
        .split('`')
        .filter(|text| text.starts_with("/problems/"))
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, known);
}

#[tokio::test]
async fn api_document_has_the_bounds_of_limit() {
    let database = TestDatabase::demo().await;
    let service = Service::over(&database);
    let document = api_document(&service).await;
    let parameters = &document["paths"]["/users/{id}/orders"]["get"]["parameters"];
    let limit = parameters
        .as_array()
        .unwrap()
        .iter()
        .find(|parameter| parameter["name"] == "limit")
        .unwrap();
    let bound = |name: &str| limit["schema"][name].as_i64().unwrap();
    let (minimum, maximum, default) = (bound("minimum"), bound("maximum"), bound("default"));
    for (limit, status) in [
        (minimum - 1, 400),
        (minimum, 200),
        (maximum, 200),
        (maximum + 1, 400),
    ] {
        let answer = service.get(&format!("/users/1/orders?limit={limit}")).await;
        assert_eq!(answer.status, status, "{limit}");
    }
    let more =
        "INSERT INTO client1.orders (id, user_id) SELECT 'more' || n, '1' FROM generate_series(1, 1000) AS n";
    database.execute(more).await;
    let page = service.get("/users/1/orders").await.ok();
    assert_eq!(
        i64::try_from(page["orders"].as_array().unwrap().len()),
        Ok(default)
    );
}

#[tokio::test]
async fn every_documented_path_exists() {
    let service = Service::over(&TestDatabase::demo().await);
    for path in api_document(&service).await["paths"].as_object().unwrap().keys() {
        let answer = service
            .get(&path.replace("{id}", "1").replace("{order_id}", "1"))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
}
