//! Property tests: random data and requests, compared with PostgreSQL's own results.
//!
//! Each test prints its seed. Set it as `PROPTEST_RNG_SEED` to repeat the values. `PROPTEST_CASES` sets the number
//! of cases.

mod archives;
mod money;
mod names;
mod pages;
mod paths;
mod queries;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use axum::body::Body;
use axum::http::{Request, Uri};
use data_encoding::BASE64URL_NOPAD;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};
use sqlx::{Executor, PgConnection, SqlSafeStr};
use tenant_orders::tenancy::SchemaName;

use crate::support::{Answer, Service, TestDatabase};

/// Random values for async tests, which the `proptest!` macro does not support.
struct Random(TestRunner);

impl Random {
    fn new() -> Self {
        let mut config = Config::default();
        if config.rng_seed == RngSeed::Random {
            config.rng_seed = RngSeed::Fixed(RandomState::new().hash_one(()));
        }
        #[expect(clippy::print_stderr, reason = "printed if the test fails")]
        {
            eprintln!("PROPTEST_RNG_SEED={}", config.rng_seed);
        }
        Self(TestRunner::new(config))
    }

    /// Number of cases, 256 by default.
    fn cases(&self) -> usize {
        self.0.config().cases.try_into().unwrap()
    }

    fn value<T: std::fmt::Debug>(&mut self, strategy: impl Strategy<Value = T>) -> T {
        strategy.new_tree(&mut self.0).unwrap().current()
    }

    fn below(&mut self, end: usize) -> usize {
        self.value(0..end)
    }
}

/// Texts of all kinds, many of them with quotes, escapes, or characters that are easily confused.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        vec(any::<char>(), 0..12).prop_map(String::from_iter),
        r#"['"%;\\/&=+#?{}<>$:@!*(),.~_ -]{1,6}"#,
        "[a-cA-C _-]{1,4}",
        "[aàåäöÅÄßzZ\u{301}\u{1F600}]{1,4}",
        "%[0-9a-fA-F]{0,2}[a-z]?",
    ]
}

/// Texts without NUL, which PostgreSQL cannot store.
fn storable_texts() -> impl Strategy<Value = String> {
    texts().prop_map(|text| text.replace('\0', ""))
}

/// Percent-encodes all bytes that need it, and some that do not.
fn percent_encode_randomly(text: &str, random: &mut Random) -> String {
    let styles = random.value(vec(0..3, text.len()));
    text.bytes()
        .zip(styles)
        .map(|(byte, style)| match style {
            0 if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) => {
                char::from(byte).to_string()
            }
            1 => format!("%{byte:02x}"),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn sql(text: String) -> impl SqlSafeStr {
    sqlx::AssertSqlSafe(text)
}

fn path_of(user: &str) -> String {
    let user = percent_encode(user.as_bytes(), NON_ALPHANUMERIC);
    format!("/users/{user}/orders")
}

/// Returns the statements that create a tenant without rows, with all migrations.
fn create_tenant(name: &str) -> String {
    let schema = SchemaName::parse(name).unwrap().quoted();
    format!(
        "CREATE SCHEMA {schema};
         CREATE TABLE {schema}.items (LIKE client1.items INCLUDING ALL);
         CREATE TABLE {schema}.orders (LIKE client1.orders INCLUDING ALL);"
    )
}

async fn insert_users(connection: &mut PgConnection, organization: &str, ids: &[String]) {
    sqlx::query("INSERT INTO public.users (id, organization_id) SELECT unnest($1::text[]), $2")
        .bind(ids)
        .bind(organization)
        .execute(connection)
        .await
        .unwrap();
}

/// Asserts that a response is a 200, or a complete 400 or 404.
fn assert_valid_response(answer: &Answer, request: &str) {
    let status = answer.status.as_u16();
    let problems: &[&str] = match status {
        200 => return,
        400 => &["bad-request"],
        404 => &["not-found", "user-not-found", "order-not-found"],
        _ => panic!("{status} for {request}: {}", answer.text()),
    };
    let found = problems
        .iter()
        .find(|slug| answer.text().contains(&format!("/problems/{slug}\"")));
    let slug = found.unwrap_or_else(|| panic!("{request}: {}", answer.text()));
    answer.problem(status, slug);
}
