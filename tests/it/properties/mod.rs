//! What holds for any data and any request, tried with random ones against the database's own answer.
//!
//! Each test tells its seed; with it as `PROPTEST_RNG_SEED` the values are the same again. `PROPTEST_CASES`
//! makes more of them.

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

/// Random values, taken by hand since proptest's own runner is not asynchronous.
struct Random(TestRunner);

impl Random {
    fn new() -> Self {
        let mut config = Config::default();
        if config.rng_seed == RngSeed::Random {
            config.rng_seed = RngSeed::Fixed(RandomState::new().hash_one(()));
        }
        #[expect(clippy::print_stderr, reason = "shown where the test fails")]
        {
            eprintln!("PROPTEST_RNG_SEED={}", config.rng_seed);
        }
        Self(TestRunner::new(config))
    }

    /// How much to try, where the default is 256.
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

/// Text of all kinds, much of it made to break out of something or to be taken for something else.
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

/// As much of a text as PostgreSQL holds.
fn storable_texts() -> impl Strategy<Value = String> {
    texts().prop_map(|text| text.replace('\0', ""))
}

/// All bytes that need it percent-encoded, and some that do not.
fn encoded(text: &str, random: &mut Random) -> String {
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

/// A tenant with no rows, its tables as migrations leave them.
fn tenant(name: &str) -> String {
    let schema = SchemaName::parse(name).unwrap().quoted();
    format!(
        "CREATE SCHEMA {schema};
         CREATE TABLE {schema}.items (LIKE client1.items INCLUDING ALL);
         CREATE TABLE {schema}.orders (LIKE client1.orders INCLUDING ALL);"
    )
}

async fn users_of(connection: &mut PgConnection, organization: &str, ids: &[String]) {
    sqlx::query("INSERT INTO public.users (id, organization_id) SELECT unnest($1::text[]), $2")
        .bind(ids)
        .bind(organization)
        .execute(connection)
        .await
        .unwrap();
}

/// A client's mistake, told well, or an answer.
fn assert_answered_or_refused(answer: &Answer, what: &str) {
    match answer.status.as_u16() {
        200 => {}
        400 => drop(answer.problem(400, "bad-request")),
        404 if answer.text().contains("user-not-found") => drop(answer.problem(404, "user-not-found")),
        404 => drop(answer.problem(404, "not-found")),
        status => panic!("{status} for {what}: {}", answer.text()),
    }
}
