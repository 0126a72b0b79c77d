//! Every failure, and the problem that describes it.

mod connections;
mod database;
mod requests;
mod tenants;

use crate::support::Answer;

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
