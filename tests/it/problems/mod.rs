//! Every failure, and the problem that describes it.

mod connections;
mod database;
mod requests;
mod tenants;

use serde_json::{Map, Value, json};

pub(crate) use database::assert_statements_time_out;

use crate::support::Answer;

/// Returns the whole response for a snapshot. The request id differs from run to run, so it is redacted.
pub(crate) fn snapshot(answer: &Answer) -> Value {
    let request_id = answer.header("x-request-id").unwrap();
    let headers: Map<_, _> = answer
        .headers
        .keys()
        .filter(|name| *name != "content-length")
        .map(|name| (name.to_string(), answer.header(name.as_str()).into()))
        .collect();
    let response = json!({ "status": answer.status.as_u16(), "headers": headers, "body": answer.json() });
    let redacted = response.to_string().replace(request_id, "[request id]");
    serde_json::from_str(&redacted).unwrap()
}

fn assert_reveals_no_internals(answer: &Answer) {
    let text = answer.text().to_lowercase();
    for internal in [
        "select",
        "sqlx",
        "relation",
        "search_path",
        "postgres",
        "42p01",
        "panicked",
        "src/",
    ] {
        assert!(!text.contains(internal), "{internal}: {text}");
    }
}
