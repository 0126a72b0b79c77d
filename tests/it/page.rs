//! The page, and the document of the API: that both are there, and that the document is true.

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
    ("/assets/answer.js", "text/javascript; charset=utf-8"),
    ("/assets/numbers.js", "text/javascript; charset=utf-8"),
    ("/assets/docs.css", "text/css; charset=utf-8"),
    ("/assets/docs.js", "text/javascript; charset=utf-8"),
    ("/assets/icon.svg", "image/svg+xml"),
];

async fn document(service: &Service) -> Value {
    service.get("/openapi.json").await.ok()
}

#[tokio::test]
async fn what_is_there_for_people_is_served_and_sent_once() {
    let service = Service::over(&TestDatabase::empty().await);
    for (path, content_type) in FILES {
        let answer = service.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.header("content-type"), Some(content_type));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(!answer.body.is_empty());
        let tag = answer.header("etag").unwrap();

        let head = service.request(Method::HEAD, path).await;
        assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
        assert_eq!(head.header("etag"), Some(tag));
        assert_eq!(
            head.header("content-length"),
            Some(answer.body.len().to_string().as_str())
        );

        for (known, status) in [
            (tag.to_owned(), StatusCode::NOT_MODIFIED),
            (format!("\"other\", W/{tag}"), StatusCode::NOT_MODIFIED),
            ("*".to_owned(), StatusCode::NOT_MODIFIED),
            ("\"other\"".to_owned(), StatusCode::OK),
        ] {
            let request = Request::get(path).header("if-none-match", &known);
            let again = service.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(again.status, status, "{path} with {known}");
            assert_eq!(again.header("etag"), Some(tag));
        }

        let refused = service.request(Method::POST, path).await;
        refused.problem(405, "method-not-allowed");
        assert_eq!(refused.header("allow"), Some("GET,HEAD"));
    }
}

#[tokio::test]
async fn a_page_may_load_nothing_from_elsewhere_and_run_no_script_but_its_own() {
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
            assert!(target.starts_with('/') && !target.starts_with("//"), "{target}");
            assert_eq!(
                service.get(target).await.status == StatusCode::OK,
                target != "/users/1/orders" // of which there are none in an empty database
            );
        }
        assert!(!text.contains("<style") && !text.contains(" style="), "{path}");
    }
}

#[tokio::test]
async fn the_page_is_there_while_the_database_is_not() {
    let nowhere = DatabaseUrl::from("postgres://nobody@127.0.0.1:1/nothing".to_owned());
    let service = Service::new(UserDirectory::open(&nowhere, &PoolSettings::default()).unwrap());
    for (path, _) in FILES {
        assert_eq!(service.get(path).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn the_document_has_an_example_of_every_problem_under_its_status_and_the_readme_lists_it() {
    let document = document(&Service::over(&TestDatabase::empty().await)).await;
    assert_eq!(document["openapi"], "3.1.0");
    let known: BTreeSet<_> = document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    let mut told = BTreeSet::new();
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
                told.insert(format!("/problems/{name}"));
            }
        }
    }
    assert_eq!(told, known);
    let readme = include_str!("../../README.md");
    let listed: BTreeSet<_> = readme
        .split('`')
        .filter(|text| text.starts_with("/problems/"))
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, known);
}

#[tokio::test]
async fn the_document_tells_the_bounds_that_hold() {
    let database = TestDatabase::demo().await;
    let service = Service::over(&database);
    let document = document(&service).await;
    let parameters = &document["paths"]["/users/{id}/orders"]["get"]["parameters"];
    let limit = parameters
        .as_array()
        .unwrap()
        .iter()
        .find(|parameter| parameter["name"] == "limit")
        .unwrap();
    let bound = |name: &str| limit["schema"][name].as_i64().unwrap();
    let (least, most, default) = (bound("minimum"), bound("maximum"), bound("default"));
    for (asked, status) in [(least - 1, 400), (least, 200), (most, 200), (most + 1, 400)] {
        let answer = service.get(&format!("/users/1/orders?limit={asked}")).await;
        assert_eq!(answer.status, status, "{asked}");
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
async fn every_path_of_the_document_is_there() {
    let service = Service::over(&TestDatabase::demo().await);
    for path in document(&service).await["paths"].as_object().unwrap().keys() {
        let answer = service.get(&path.replace("{id}", "1")).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
}
