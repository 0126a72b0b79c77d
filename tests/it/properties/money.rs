//! Amounts, compared with PostgreSQL's arithmetic.

use super::*;

/// The largest mantissa of an amount that the service supports: 2^96 - 1.
const MAX_MANTISSA: &str = "79228162514264337593543950335";

/// Returns the amount that the service must return for a `numeric` in PostgreSQL's notation. Returns `None` if it
/// is not a number or has more digits than the service supports.
pub(super) fn expected_amount(numeric: &str) -> Option<String> {
    let digits = numeric.trim_start_matches('-');
    if !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let decimals = decimals.trim_end_matches('0');
    let mantissa = format!("{whole}{decimals}");
    let mantissa = mantissa.trim_start_matches('0');
    let fits = decimals.len() <= 28 && (mantissa.len(), mantissa) <= (MAX_MANTISSA.len(), MAX_MANTISSA);
    let sign = if numeric.starts_with('-') && !mantissa.is_empty() {
        "-"
    } else {
        ""
    };
    fits.then(|| format!("{sign}{whole}.{decimals:0<2}"))
}

#[test]
fn expected_amount_keeps_all_digits() {
    for (numeric, expected) in [
        ("5", Some("5.00")),
        ("-0.000", Some("0.00")),
        ("-19.9990", Some("-19.999")),
        (MAX_MANTISSA, Some("79228162514264337593543950335.00")),
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
        assert_eq!(expected_amount(numeric).as_deref(), expected, "{numeric}");
    }
}

/// Prices in a `numeric` column.
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

/// Prices in a `double precision` column.
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

/// Prices and quantities of a user. In half of the cases most line totals cancel out.
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

/// An order with PostgreSQL's line total and total due.
#[derive(Debug, sqlx::FromRow)]
struct ExpectedOrder {
    user_id: String,
    id: String,
    price: Option<String>,
    quantity: Option<i32>,
    line_total: Option<String>,
    total_due: Option<String>,
}

impl ExpectedOrder {
    /// Returns the order's JSON, or `None` if the service cannot represent an amount.
    fn json(&self) -> Option<Value> {
        let [unit_price, line_total] = [&self.price, &self.line_total].map(|amount| match amount {
            Some(amount) => expected_amount(amount).map(Value::from),
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

/// Asserts that a page contains `orders`, or is `tenant-data-invalid` if an amount cannot be represented.
fn assert_page_matches(answer: &Answer, orders: &[ExpectedOrder], path: &str) {
    let total_due = expected_amount(orders[0].total_due.as_deref().unwrap_or("0"));
    let lines: Option<Vec<Value>> = orders.iter().map(ExpectedOrder::json).collect();
    if let (Some(total_due), Some(lines)) = (total_due, lines) {
        assert_eq!(answer.status, 200, "{} for {path}: {orders:?}", answer.text());
        let page = answer.ok();
        assert_eq!(page["orders"], json!(lines), "{path}");
        assert_eq!(page["total_due"], total_due, "{path}: {orders:?}");
    } else {
        assert_eq!(answer.status, 500, "{} for {path}: {orders:?}", answer.text());
        answer.problem(500, "tenant-data-invalid");
    }
}

async fn assert_amounts_match_postgresql(column: &str, users: Vec<Purchases>, mut random: Random) {
    let database = TestDatabase::demo().await;
    if database.server_version().await < 14 {
        return; // numeric has no Infinity
    }
    let mut connection = database.connect().await;
    let shop = format!(
        "{} ALTER TABLE shop.items ALTER price TYPE {column}",
        create_tenant("shop")
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
    insert_users(&mut connection, "shop", &users).await;
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

    let expected: Vec<ExpectedOrder> = sqlx::query_as(
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
    for orders in expected.chunk_by(|a, b| a.user_id == b.user_id) {
        let path = path_of(&orders[0].user_id);
        // The service computes the total of a complete list.
        let answer = service.get(&path).await;
        assert_page_matches(&answer, orders, &path);
        *statuses.entry(answer.status.as_u16()).or_default() += 1;
        if orders.len() == 1 {
            continue;
        }
        // PostgreSQL computes the total of a page.
        let limit = 1 + random.below(orders.len() - 1);
        let (first, rest) = orders.split_at(limit);
        let path = format!("{path}?limit={limit}");
        let answer = service.get(&path).await;
        assert_page_matches(&answer, first, &path);
        *statuses.entry(answer.status.as_u16()).or_default() += 1;
        let cursor = BASE64URL_NOPAD.encode(json!([null, first[limit - 1].id]).to_string().as_bytes());
        let path = format!("{path}&cursor={cursor}");
        let rest = &rest[..rest.len().min(limit)];
        assert_page_matches(&service.get(&path).await, rest, &path);
    }
    assert_eq!(statuses.len(), 2, "expected both 200 and 500: {statuses:?}");
}

#[tokio::test]
async fn decimal_amounts_match_postgresql_arithmetic() {
    let mut random = Random::new();
    let users = random.value(vec(purchases(decimals()), random.cases()));
    assert_amounts_match_postgresql("numeric", users, random).await;
}

#[tokio::test]
async fn floating_point_amounts_match_postgresql_arithmetic() {
    let mut random = Random::new();
    let users = random.value(vec(purchases(floats()), random.cases()));
    assert_amounts_match_postgresql("double precision", users, random).await;
}
