//! What holds for any data and any request, tried with random ones against the database's own answer.
//!
//! Each test tells its seed; with it as `PROPTEST_RNG_SEED` the values are the same again. `PROPTEST_CASES`
//! makes more of them.

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

// Money

/// The largest mantissa of an amount that the service holds: 2^96 - 1.
const LARGEST: &str = "79228162514264337593543950335";

/// How the service is to tell what PostgreSQL writes for a `numeric`; none where it is no number or
/// has more digits than the service holds.
fn told(numeric: &str) -> Option<String> {
    let digits = numeric.trim_start_matches('-');
    if !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let decimals = decimals.trim_end_matches('0');
    let mantissa = format!("{whole}{decimals}");
    let mantissa = mantissa.trim_start_matches('0');
    let fits = decimals.len() <= 28 && (mantissa.len(), mantissa) <= (LARGEST.len(), LARGEST);
    let sign = if numeric.starts_with('-') && !mantissa.is_empty() {
        "-"
    } else {
        ""
    };
    fits.then(|| format!("{sign}{whole}.{decimals:0<2}"))
}

#[test]
fn amounts_are_told_by_their_digits() {
    for (numeric, expected) in [
        ("5", Some("5.00")),
        ("-0.000", Some("0.00")),
        ("-19.9990", Some("-19.999")),
        (LARGEST, Some("79228162514264337593543950335.00")),
        ("79228162514264337593543950336", None),
        (
            "7.9228162514264337593543950335",
            Some("7.9228162514264337593543950335"),
        ),
        ("0.00000000000000000000000000001", None),
        ("100000000000000000000000000000", None),
        ("NaN", None),
        ("-Infinity", None),
    ] {
        assert_eq!(told(numeric).as_deref(), expected, "{numeric}");
    }
}

/// Prices as a `numeric` column may have them.
fn decimals() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => "-?[0-9]{1,6}e-[0-4]",
        4 => "-?[0-9]{1,12}e-[12]?[0-9]",
        3 => "-?[1-9][0-9]{0,3}0{0,9}e-?[0-9]",
        3 => "-?[0-9]{24,30}e-[0-9]",
        3 => "-?792281625142643375935439503[0-9]{2}e-[12]?[0-9]",
        2 => "-?[1-9]e-?[1-3]?[0-9]",
        1 => "-?[1-9]e-?[1-2][0-9]{2}",
        1 => "NaN|-?Infinity",
    ]
}

/// Prices as a `double precision` column may have them.
fn floats() -> impl Strategy<Value = String> {
    prop_oneof![
        10 => "-?[0-9]{1,6}e-2",
        5 => "-?[0-9]{1,17}e-?[0-9]",
        4 => "-?[0-9]{15,19}e-?[12][0-9]",
        4 => select(vec![
            "0.30000000000000004", // 0.1 + 0.2
            "1e-7", "1e22", "1e28", "79228162514264337593543950335", "-0", "9007199254740993", "123456789012345.67",
        ])
        .prop_map(str::to_owned),
        1 => select(vec![f64::from_bits(1), f64::MIN_POSITIVE, f64::MAX, f64::MIN, f64::NAN, f64::INFINITY])
            .prop_map(|price| format!("{price:e}")),
        1 => any::<f64>().prop_map(|price| format!("{price:e}")),
    ]
}

fn quantities() -> impl Strategy<Value = Option<i32>> {
    prop_oneof![
        Just(None),
        select(vec![Some(0), Some(1), Some(-1), Some(i32::MAX), Some(i32::MIN)]),
        (1..100).prop_map(Some),
        (-1000..1000).prop_map(Some),
        any::<i32>().prop_map(Some),
    ]
}

type Purchases = Vec<(Option<String>, Option<i32>)>;

/// A user's prices and quantities; in some cases such that most of it cancels out.
fn purchases(prices: impl Strategy<Value = String>) -> impl Strategy<Value = Purchases> {
    let lines = vec((weighted(0.95, prices), quantities()), 1..5);
    (lines, any::<bool>()).prop_map(|(mut lines, cancelled)| {
        if cancelled {
            let opposite = |(price, quantity): &(Option<String>, Option<i32>)| {
                (price.clone(), quantity.and_then(i32::checked_neg))
            };
            let opposites: Vec<_> = lines.iter().skip(1).map(opposite).collect();
            lines.extend(opposites);
        }
        lines
    })
}

/// An order of one user, as PostgreSQL reckons it.
#[derive(Debug, sqlx::FromRow)]
struct Reckoned {
    user_id: String,
    id: String,
    price: Option<String>,
    quantity: Option<i32>,
    line_total: Option<String>,
    total_due: Option<String>,
}

impl Reckoned {
    /// None where the service cannot hold it.
    fn told(&self) -> Option<Value> {
        let [unit_price, line_total] = [&self.price, &self.line_total].map(|amount| match amount {
            Some(amount) => told(amount).map(Value::from),
            None => Some(Value::Null),
        });
        Some(json!({
            "id": self.id,
            "created_at": null,
            "item": { "id": self.id, "description": null },
            "unit_price": unit_price?,
            "quantity": self.quantity,
            "line_total": line_total?,
        }))
    }
}

/// Checks a page that holds `orders`. It is refused where any amount on it does not fit.
fn assert_reckoned(answer: &Answer, orders: &[Reckoned], what: &str) {
    let total_due = told(orders[0].total_due.as_deref().unwrap_or("0"));
    let lines: Option<Vec<Value>> = orders.iter().map(Reckoned::told).collect();
    if let (Some(total_due), Some(lines)) = (total_due, lines) {
        assert_eq!(answer.status, 200, "{} for {what}: {orders:?}", answer.text());
        let page = answer.ok();
        assert_eq!(page["orders"], json!(lines), "{what}");
        assert_eq!(page["total_due"], total_due, "{what}: {orders:?}");
    } else {
        assert_eq!(answer.status, 500, "{} for {what}: {orders:?}", answer.text());
        answer.problem(500, "tenant-data-invalid");
    }
}

async fn assert_money_is_what_postgresql_reckons(column: &str, users: Vec<Purchases>, mut random: Random) {
    let database = TestDatabase::demo().await;
    let mut connection = database.connect().await;
    let shop = format!(
        "{} ALTER TABLE shop.items ALTER price TYPE {column}",
        tenant("shop")
    );
    connection.execute(sql(shop)).await.unwrap();

    let (mut ids, mut owners, mut prices, mut counts) = (vec![], vec![], vec![], vec![]);
    for (user, purchases) in users.into_iter().enumerate() {
        for (line, (price, quantity)) in purchases.into_iter().enumerate() {
            ids.push(format!("u{user}-{line}"));
            owners.push(format!("u{user}"));
            prices.push(price);
            counts.push(quantity);
        }
    }
    let mut users = owners.clone();
    users.dedup();
    users_of(&mut connection, "shop", &users).await;
    let insert = format!(
        "INSERT INTO shop.items (id, price) SELECT * FROM unnest($1::text[], $2::text[]::{column}[])"
    );
    sqlx::query(sql(insert))
        .bind(&ids)
        .bind(&prices)
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO shop.orders (id, user_id, quantity, item_id)
         SELECT *, id FROM unnest($1::text[], $2::text[], $3::int[]) AS o (id)",
    )
    .bind(&ids)
    .bind(&owners)
    .bind(&counts)
    .execute(&mut connection)
    .await
    .unwrap();

    let reckoned: Vec<Reckoned> = sqlx::query_as(
        "SELECT user_id, id, price::text, quantity, line_total::text,
                sum(line_total) OVER (PARTITION BY user_id)::text AS total_due
         FROM (SELECT o.user_id, o.id, i.price::text::numeric, o.quantity,
                      i.price::text::numeric * o.quantity AS line_total
               FROM shop.orders o JOIN shop.items i ON i.id = o.item_id) AS lines
         ORDER BY user_id, id",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();

    let service = Service::over(&database);
    let mut statuses = HashMap::<u16, usize>::new();
    for orders in reckoned.chunk_by(|a, b| a.user_id == b.user_id) {
        let path = path_of(&orders[0].user_id);
        // The service adds up a whole list,
        let answer = service.get(&path).await;
        assert_reckoned(&answer, orders, &path);
        *statuses.entry(answer.status.as_u16()).or_default() += 1;
        if orders.len() == 1 {
            continue;
        }
        // and the database adds up for a page.
        let limit = 1 + random.below(orders.len() - 1);
        let (first, rest) = orders.split_at(limit);
        let path = format!("{path}?limit={limit}");
        let answer = service.get(&path).await;
        assert_reckoned(&answer, first, &path);
        *statuses.entry(answer.status.as_u16()).or_default() += 1;
        let cursor = BASE64URL_NOPAD.encode(json!([null, first[limit - 1].id]).to_string().as_bytes());
        let path = format!("{path}&cursor={cursor}");
        let rest = &rest[..rest.len().min(limit)];
        assert_reckoned(&service.get(&path).await, rest, &path);
    }
    assert_eq!(statuses.len(), 2, "only some of the amounts fit: {statuses:?}");
}

#[tokio::test]
async fn decimal_money_is_what_postgresql_reckons() {
    let mut random = Random::new();
    let users = random.value(vec(purchases(decimals()), random.cases()));
    assert_money_is_what_postgresql_reckons("numeric", users, random).await;
}

#[tokio::test]
async fn floating_money_is_what_postgresql_reckons() {
    let mut random = Random::new();
    let users = random.value(vec(purchases(floats()), random.cases()));
    assert_money_is_what_postgresql_reckons("double precision", users, random).await;
}

// Pages

/// Times as the service tells them: few, so that many are the same, and the ends of what it takes.
fn times() -> impl Strategy<Value = Option<String>> {
    let near = (0..4).prop_map(|micros| match micros {
        0 => "2024-02-29T23:59:59".to_owned(),
        micros => format!("2024-02-29T23:59:59.{micros:06}"),
    });
    let ends = select(vec![
        "0001-01-01T00:00:00",
        "0001-01-01T00:00:00.000001",
        "1999-12-31T23:59:59.999999",
        "2000-01-01T00:00:00",
        "9999-12-31T23:59:59.999999",
    ]);
    let any = (1..10_000, 1..13, 1..29, 0..24, 1..1_000_000).prop_map(|(year, month, day, hour, micros)| {
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:00:00.{micros:06}")
    });
    weighted(
        0.75,
        prop_oneof![3 => near, 1 => ends.prop_map(str::to_owned), 1 => any],
    )
}

fn limits() -> impl Strategy<Value = usize> {
    prop_oneof![1_usize..4, 1_usize..50, Just(1000)]
}

/// A tenant's orders of one user, among those of somebody else.
struct Shop {
    connection: PgConnection,
    schema: String,
    user: String,
}

impl Shop {
    /// Adds orders with these ids, but for ids that are there.
    async fn add(&mut self, orders: &[(String, Option<String>)], random: &mut Random) {
        let (ids, times): (Vec<_>, Vec<_>) = orders.iter().cloned().unzip();
        let counts = random.value(vec(weighted(0.9, -9..10_i32), ids.len()));
        let insert = format!(
            "INSERT INTO {}.orders (id, creation_timestamp, quantity, user_id, item_id)
             SELECT *, $4, 'a' FROM unnest($1::text[], $2::text[]::timestamp[], $3::int[]) ON CONFLICT DO NOTHING",
            self.schema
        );
        sqlx::query(sql(insert))
            .bind(&ids)
            .bind(&times)
            .bind(&counts)
            .bind(&self.user)
            .execute(&mut self.connection)
            .await
            .unwrap();
    }

    async fn remove(&mut self, ids: &[String]) {
        let delete = format!("DELETE FROM {}.orders WHERE id = ANY ($1)", self.schema);
        sqlx::query(sql(delete))
            .bind(ids)
            .execute(&mut self.connection)
            .await
            .unwrap();
    }

    /// The ids in the contract's order, by the column's own collation.
    async fn ids(&mut self) -> Vec<String> {
        let select = format!(
            "SELECT id FROM {}.orders WHERE user_id = $1 ORDER BY creation_timestamp DESC NULLS LAST, id",
            self.schema
        );
        sqlx::query_scalar(sql(select))
            .bind(&self.user)
            .fetch_all(&mut self.connection)
            .await
            .unwrap()
    }

    async fn total_due(&mut self) -> String {
        let select = format!(
            "SELECT COALESCE(sum(1.01 * quantity), 0)::text FROM {}.orders WHERE user_id = $1",
            self.schema
        );
        let sum: String = sqlx::query_scalar(sql(select))
            .bind(&self.user)
            .fetch_one(&mut self.connection)
            .await
            .unwrap();
        told(&sum).unwrap()
    }

    /// Walks through all pages, and lets `change` happen behind each; tells all orders shown.
    async fn walk(
        &mut self,
        service: &Service,
        random: &mut Random,
        mut change: impl AsyncFnMut(&mut Self, &mut Random),
    ) -> Vec<Value> {
        let mut shown = Vec::new();
        let mut limit = random.value(limits());
        let mut next = format!("{}?limit={limit}", path_of(&self.user));
        loop {
            let answer = service.get(&next).await;
            let link = answer.header("link").map(str::to_owned);
            let page = answer.ok();
            assert_eq!(page["total_due"], self.total_due().await, "{next}");
            let orders = page["orders"].as_array().unwrap();
            assert!(orders.len() <= limit, "{next}");
            shown.extend_from_slice(orders);
            assert!(shown.len() < 1000, "it walks in a circle: {next}");
            let Some(cursor) = page["next_cursor"].as_str() else {
                assert_eq!(page["next_cursor"], Value::Null);
                assert_eq!(link, None, "{next}");
                return shown;
            };
            assert_eq!(orders.len(), limit, "{next}");
            let link = link.unwrap();
            let link = link
                .strip_prefix('<')
                .and_then(|link| link.strip_suffix(r#">; rel="next""#));
            let link = link.unwrap();
            assert!(link.ends_with(&format!("cursor={cursor}")), "{link}");
            next = if random.value(any::<bool>()) {
                link.to_owned()
            } else {
                limit = random.value(limits());
                format!("{}?cursor={cursor}&limit={limit}", path_of(&self.user))
            };
            change(self, random).await;
        }
    }
}

fn ids_of(orders: &[Value]) -> Vec<&str> {
    orders.iter().map(|order| order["id"].as_str().unwrap()).collect()
}

/// Collations that sort differently; the last, made here, takes `a` and `A` for the same.
const COLLATIONS: [&str; 4] = ["C", "en-x-icu", "sv-x-icu", "loose"];

#[tokio::test]
async fn pages_show_every_order_once_in_order_also_where_orders_come_and_go() {
    let mut random = Random::new();
    let database = TestDatabase::demo().await;
    let service = Service::over(&database);
    let mut connection = database.connect().await;
    // A PostgreSQL may be built without ICU.
    let icu = "DO $$ BEGIN
                   CREATE COLLATION public.loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
               EXCEPTION WHEN feature_not_supported THEN NULL; END $$";
    connection.execute(icu).await.unwrap();
    let collations: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT collname::text FROM pg_collation WHERE collname = ANY ($1) ORDER BY 1",
    )
    .bind(COLLATIONS.map(str::to_owned).to_vec())
    .fetch_all(&mut connection)
    .await
    .unwrap();
    for collation in &collations {
        let create = format!(
            r#"{} ALTER TABLE "in {collation}".orders ALTER id TYPE varchar COLLATE "{collation}";
               INSERT INTO "in {collation}".items (id, price) VALUES ('a', 1.01);"#,
            tenant(&format!("in {collation}"))
        );
        connection.execute(sql(create)).await.unwrap();
    }

    for case in 0..random.cases() / 8 {
        let collation = &collations[case % collations.len()];
        let mut shop = Shop {
            connection: database.connect().await,
            schema: format!(r#""in {collation}""#),
            user: format!("{case} {}", random.value(storable_texts())),
        };
        users_of(
            &mut connection,
            &format!("in {collation}"),
            std::slice::from_ref(&shop.user),
        )
        .await;
        // Those of the users before are left standing, as somebody else's.
        let orders = random.value(vec((storable_texts(), times()), 0..40));
        let prefix = format!("{case} ");
        let orders: Vec<_> = orders
            .into_iter()
            .map(|(id, time)| (if case % 3 == 0 { id } else { prefix.clone() + &id }, time))
            .collect();
        shop.add(&orders, &mut random).await;
        let expected = shop.ids().await;

        let shown = shop.walk(&service, &mut random, async |_, _| {}).await;
        assert_eq!(ids_of(&shown), expected);
        assert_newest_first(&shown);
        let made_at: HashMap<_, _> = orders.iter().rev().cloned().collect();
        for order in &shown {
            assert_eq!(order["created_at"], json!(made_at[order["id"].as_str().unwrap()]));
        }

        let mut gone = HashSet::new();
        let mut changes = 0;
        let shown = shop
            .walk(&service, &mut random, async |shop, random| {
                changes += 1;
                if changes > 8 {
                    return; // else a walk in small steps need not end
                }
                let mut there = shop.ids().await;
                let mut added = random.value(vec((storable_texts(), times()), 0..3));
                for index in random.value(vec(any::<Index>(), 0..3)) {
                    if !there.is_empty() {
                        gone.insert(there.swap_remove(index.index(there.len())));
                    }
                }
                shop.remove(&Vec::from_iter(gone.clone())).await;
                // One that comes again at another time is another.
                added.retain(|(id, _)| !gone.contains(id));
                shop.add(&added, random).await;
            })
            .await;
        assert_newest_first(&shown);
        let shown = ids_of(&shown);
        let distinct: HashSet<_> = shown.iter().collect();
        assert_eq!(distinct.len(), shown.len(), "shown twice: {shown:?}");
        let there_throughout: Vec<_> = expected.iter().filter(|id| !gone.contains(*id)).collect();
        let shown: Vec<_> = shown
            .into_iter()
            .filter(|id| there_throughout.iter().any(|there| there == id))
            .collect();
        assert_eq!(shown, there_throughout);
    }
}

/// Of times written alike, the later is the larger text.
fn assert_newest_first(orders: &[Value]) {
    let times: Vec<_> = orders
        .iter()
        .map(|order| order["created_at"].as_str().unwrap_or_default())
        .collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
}

// Ids in the path

#[tokio::test]
async fn an_id_in_the_path_finds_exactly_its_user() {
    let mut random = Random::new();
    let database = TestDatabase::demo().await;
    let service = Service::over(&database);
    let mut connection = database.connect().await;
    let ids = random.value(vec(storable_texts(), random.cases() / 4));
    sqlx::query(
        "INSERT INTO public.users (id, name, organization_id)
         SELECT id, number::text, 'client1' FROM unnest($1::text[]) WITH ORDINALITY AS u (id, number)
         ON CONFLICT DO NOTHING",
    )
    .bind(&ids)
    .execute(&mut connection)
    .await
    .unwrap();
    let rows: Vec<(String, String, String)> =
        sqlx::query_as("SELECT id, name, organization_id FROM public.users")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let users: BTreeMap<_, _> = rows
        .into_iter()
        .map(|(id, name, organization)| {
            let user = json!({ "id": id, "name": name, "organization_id": organization });
            (id, user)
        })
        .collect();

    let mut asked: Vec<String> = users.keys().cloned().collect();
    for id in users.keys() {
        // What somebody who decodes, trims, folds, normalizes or cuts off would take for the same.
        asked.extend([
            format!("{id} "),
            format!(" {id}"),
            format!("{id}\0"),
            format!("{id}/"),
            id.to_uppercase(),
            id.to_lowercase(),
            id.replace('+', " "),
            encoded(id, &mut random),
        ]);
    }
    asked.extend(random.value(vec(texts(), random.cases())));
    for id in asked {
        let path = format!("/users/{}/orders", encoded(&id, &mut random));
        let answer = service.get(&path).await;
        match users.get(&id) {
            None => {
                assert_eq!(answer.status, 404, "{id:?} at {path}: {}", answer.text());
                let problem = answer.problem(404, "user-not-found");
                assert_eq!(problem["instance"], path);
            }
            Some(user) => assert_eq!(answer.ok()["user"], *user, "{path}"),
        }
    }
}

#[tokio::test]
async fn any_target_is_answered_or_refused() {
    let mut random = Random::new();
    let service = Service::over(&TestDatabase::demo().await);
    let bytes = prop_oneof![
        vec(any::<u8>(), 0..24),
        "[%0-9A-Fa-f]{0,12}".prop_map(String::into_bytes),
        "(%[C-F][0-9A-F]|%[89AB][0-9A-F]|%00|1|é|/|\\.\\.|;|\\{|\\}){0,6}".prop_map(String::into_bytes),
    ];
    let ends = prop_oneof![
        4 => Just(("/users/", "/orders")),
        1 => Just(("/", "")),
        1 => Just(("/users/", "")),
        1 => Just(("/users/1/orders", "")),
        1 => Just(("http://host/users/", "/orders")),
    ];
    let mut sent = 0;
    for _ in 0..random.cases() * 4 {
        let (start, end) = random.value(&ends);
        let target = [start.as_bytes(), &random.value(&bytes), end.as_bytes()].concat();
        // What is no URI at all is refused before it gets to the router.
        let Ok(uri) = Uri::try_from(target.clone()) else {
            continue;
        };
        sent += 1;
        let answer = service.send(Request::get(uri).body(Body::empty()).unwrap()).await;
        assert_answered_or_refused(&answer, &target.escape_ascii().to_string());
    }
    assert!(sent > random.cases(), "most are URIs: {sent}");
}

// Queries

/// A walk in steps of one gives these cursors.
async fn cursors(service: &Service, path: &str) -> Vec<String> {
    let mut cursors = Vec::new();
    let mut next = format!("{path}?limit=1");
    while let Some(cursor) = service.get(&next).await.ok()["next_cursor"].as_str() {
        next = format!("{path}?limit=1&cursor={cursor}");
        cursors.push(cursor.to_owned());
        assert!(cursors.len() < 100, "it walks in a circle: {next}");
    }
    cursors
}

/// User `1` with orders at various times, 12 in all.
async fn busy_user() -> TestDatabase {
    let database = TestDatabase::demo().await;
    database
        .execute(
            r#"INSERT INTO client1.orders (id, user_id, creation_timestamp) VALUES
                ('3', '1', NULL), ('é "quoted"\', '1', NULL), ('', '1', '0001-01-01'), ('4', '1', '2024-02-29 12:00'),
                ('5', '1', '2024-02-29 12:00'), ('6', '1', '2024-02-29 12:00:00.000001'),
                ('7', '1', '9999-12-31 23:59:59.999999'), ('8', '1', '1999-12-31'), ('9', '1', '2000-01-01'),
                ('/', '1', '2020-01-01')"#,
        )
        .await;
    database
}

#[tokio::test]
async fn a_query_is_answered_or_refused_by_what_it_says() {
    let mut random = Random::new();
    let database = busy_user().await;
    let service = Service::over(&database);
    let path = path_of("1");
    let cursors = cursors(&service, &path).await;
    assert_eq!(cursors.len(), 11);
    let names = prop_oneof![
        4 => Just("limit".to_owned()),
        2 => Just("cursor".to_owned()),
        1 => select(vec!["Limit", "limit ", "cursor\0", "offset", "limit[]", ""]).prop_map(str::to_owned),
        1 => texts(),
    ];
    let values = prop_oneof![
        6 => (1..20_u16).prop_map(|limit| limit.to_string()),
        2 => "[-+]?[0-9]{1,4}",
        2 => select(vec!["0", "1000", "1001", "65535", "65537"]).prop_map(str::to_owned),
        1 => "0{1,30}[0-9]{1,40}",
        1 => "[0-9]{1,3}(\\.0|e1| |_0|\u{661}|\0)",
        4 => select(cursors.clone()),
        1 => texts(),
    ];
    for _ in 0..random.cases() {
        let pairs = random.value(vec((&names, &values), 0..4));
        let query: Vec<_> = pairs
            .iter()
            .map(|(name, value)| format!("{}={}", encoded_in_query(name), encoded_in_query(value)))
            .collect();
        let query = query.join("&");
        let given = |name| {
            pairs
                .iter()
                .filter(move |pair| pair.0 == name)
                .map(|pair| &pair.1)
        };
        let limit = match given("limit").next() {
            None => Some(100),
            Some(limit) => Some(limit)
                .filter(|limit| !limit.is_empty() && limit.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|limit| limit.parse::<u128>().ok())
                .filter(|limit| (1..=1000).contains(limit)),
        };
        let before = match given("cursor").next() {
            None => Some(0),
            Some(cursor) => cursors
                .iter()
                .position(|known| known == cursor)
                .map(|place| place + 1),
        };
        let once = ["limit", "cursor"].iter().all(|name| given(name).count() <= 1);
        let answer = service.get(&format!("{path}?{query}")).await;
        match (limit, before) {
            (Some(limit), Some(before)) if once => {
                assert_eq!(answer.status, 200, "{query}: {}", answer.text());
                let shown = answer.ok()["orders"].as_array().unwrap().len();
                assert_eq!(shown as u128, limit.min(12 - before as u128), "{query}");
            }
            _ => {
                assert_eq!(answer.status, 400, "{query}: {}", answer.text());
                answer.problem(400, "bad-request");
            }
        }
    }
}

fn encoded_in_query(text: &str) -> String {
    percent_encode(text.as_bytes(), NON_ALPHANUMERIC).to_string()
}

#[tokio::test]
async fn any_query_is_answered_or_refused() {
    let mut random = Random::new();
    let service = Service::over(&TestDatabase::demo().await);
    let queries = prop_oneof![
        vec(any::<u8>(), 0..24),
        "((limit|cursor|x|l%69mit|limit%00)(=|=1|=W251bGwsIjEiXQ|=%|=%F|=%FF|=[0-9]{1,25})?[&;]{0,2}){0,5}"
            .prop_map(String::into_bytes),
    ];
    for _ in 0..random.cases() * 2 {
        let query = random.value(&queries);
        let Ok(uri) = Uri::try_from([b"/users/1/orders?", query.as_slice()].concat()) else {
            continue;
        };
        let answer = service.send(Request::get(uri).body(Body::empty()).unwrap()).await;
        let query = query.escape_ascii().to_string();
        assert_ne!(answer.status, 404, "{query}");
        assert_answered_or_refused(&answer, &query);
    }
}

/// Flips, cuts, repeats, swaps or replaces some bytes.
fn mutated(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(3) {
        if bytes.is_empty() {
            break;
        }
        let (place, other) = (random.below(bytes.len()), random.below(bytes.len()));
        match random.below(6) {
            0 => bytes[place] ^= 1 << random.below(8),
            1 => bytes.truncate(place),
            2 => drop(bytes.remove(place)),
            3 => bytes.insert(place, bytes[other]),
            4 => bytes.swap(place, other),
            _ => bytes[place] = random.value(select(br#"[]",\0123456789-:.Tnu"#.to_vec())),
        }
    }
    bytes
}

#[tokio::test]
async fn a_cursor_that_was_tampered_with_is_answered_or_refused() {
    let mut random = Random::new();
    let service = Service::over(&busy_user().await);
    let path = path_of("1");
    let cursors = cursors(&service, &path).await;
    let times = prop_oneof![
        "0000-[01][0-9]-[0-3][0-9]T00:00:00",
        "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,9})?",
        "(-|\\+)?[0-9]{5,6}-01-01T00:00:00",
        "(-?infinity|now|epoch|24:00|2024-01-01T00:00:00(Z|\\+01| BC))",
    ];
    let mut statuses = HashMap::<u16, usize>::new();
    for case in 0..random.cases() * 3 {
        let cursor = random.value(select(cursors.clone()));
        // What is inside is changed too, so that it is not refused for its letters alone.
        let inside = BASE64URL_NOPAD.decode(cursor.as_bytes()).unwrap();
        let cursor = match case % 3 {
            0 => mutated(cursor.as_bytes(), &mut random),
            1 => BASE64URL_NOPAD
                .encode(&mutated(&inside, &mut random))
                .into_bytes(),
            _ => {
                let inside = json!([random.value(&times), random.value(texts())]);
                BASE64URL_NOPAD.encode(inside.to_string().as_bytes()).into_bytes()
            }
        };
        let query = percent_encode(&cursor, NON_ALPHANUMERIC);
        let answer = service.get(&format!("{path}?cursor={query}")).await;
        let cursor = cursor.escape_ascii().to_string();
        assert_ne!(answer.status, 404, "{cursor}");
        assert_answered_or_refused(&answer, &cursor);
        if answer.status == 200 {
            assert_eq!(answer.ok()["total_due"], "60000.00", "{cursor}");
        }
        *statuses.entry(answer.status.as_u16()).or_default() += 1;
    }
    assert_eq!(statuses.len(), 2, "some are still cursors: {statuses:?}");
}

// Schema names

#[tokio::test]
async fn a_user_of_any_organization_sees_the_rows_of_the_schema_of_exactly_this_name_or_none() {
    let mut random = Random::new();
    let database = TestDatabase::demo().await;
    let mut connection = database.connect().await;
    connection
        .execute(
            "CREATE TABLE public.items (LIKE client1.items); CREATE TABLE public.orders (LIKE client1.orders);
             INSERT INTO public.items (id, description, price) VALUES ('1', 'a trap', 1);",
        )
        .await
        .unwrap();
    let names = prop_oneof![
        4 => storable_texts(),
        1 => "[a-c\"]{62,66}",
        1 => "[é\u{1F600}]{14,33}",
        1 => "pg_[a-z]{0,4}",
    ];
    let reserved = ["public", "information_schema", "$user", "pg_temp", ""];
    let mut organizations = BTreeSet::from(reserved.map(str::to_owned));
    for _ in 0..random.cases() / 16 {
        let name = random.value(&names);
        // Its neighbours: what a careless quotation, folding or cut would take for the same.
        organizations.extend([
            name[..name.floor_char_boundary(63)].to_owned(),
            format!("{name}{}", "x".repeat(63)),
            name.to_uppercase(),
            format!("{name} "),
            format!("\"{name}\""),
            name.replace('"', "\"\""),
            format!("{name}, public"),
            name,
        ]);
    }
    organizations.remove("client1"); // has its orders already

    let mut marks = Vec::new();
    for (mark, organization) in organizations.into_iter().enumerate() {
        let user = format!("p{mark}");
        users_of(&mut connection, &organization, std::slice::from_ref(&user)).await;
        let acceptable = (1..=63).contains(&organization.len())
            && !organization.starts_with("pg_")
            && !reserved.contains(&organization.as_str());
        // Some have no schema; one whose name is as long as can be has, for what is cut short to it.
        let made = acceptable && (organization.len() == 63 || random.value(any::<bool>()));
        let schema = made.then(|| SchemaName::parse(&organization).unwrap().quoted());
        if schema.is_some() {
            connection.execute(sql(tenant(&organization))).await.unwrap();
        }
        for schema in schema.iter().map(String::as_str).chain(["public"]) {
            let price = if schema == "public" {
                -1
            } else {
                mark.try_into().unwrap()
            };
            let fill = format!(
                "INSERT INTO {schema}.items (id, price) VALUES ('{user}', {price});
                 INSERT INTO {schema}.orders (id, user_id, item_id, quantity)
                 VALUES ('{user}', '{user}', '{user}', 1);"
            );
            connection.execute(sql(fill)).await.unwrap();
        }
        marks.push((organization, made));
    }
    assert!(marks.iter().any(|(_, made)| *made));

    let service = Service::over(&database);
    for _ in 0..2 {
        for (mark, (organization, made)) in marks.iter().enumerate() {
            let answer = service.get(&format!("/users/p{mark}/orders")).await;
            if *made {
                assert_eq!(answer.status, 200, "{organization:?}: {}", answer.text());
                let page = answer.ok();
                assert_eq!(page["user"]["organization_id"], *organization);
                assert_eq!(page["orders"].as_array().unwrap().len(), 1, "{organization:?}");
                assert_eq!(page["orders"][0]["id"], format!("p{mark}"), "{organization:?}");
                assert_eq!(page["total_due"], format!("{mark}.00"), "{organization:?}");
            } else {
                assert_eq!(answer.status, 503, "{organization:?}: {}", answer.text());
                answer.problem(503, "tenant-unavailable");
            }
        }
    }
}
