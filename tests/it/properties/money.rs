//! Amounts, against PostgreSQL's own arithmetic.

use super::*;

/// The largest mantissa of an amount that the service holds: 2^96 - 1.
const LARGEST: &str = "79228162514264337593543950335";

/// How the service is to tell what PostgreSQL writes for a `numeric`; none where it is no number or
/// has more digits than the service holds.
pub(super) fn told(numeric: &str) -> Option<String> {
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
    if database.server_version().await < 14 {
        return; // numeric has no Infinity
    }
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
