//! Query strings and cursors, valid and invalid.

use super::*;

/// Returns the cursors of all pages with one order.
async fn cursors(service: &Service, path: &str) -> Vec<String> {
    let mut cursors = Vec::new();
    let mut next = format!("{path}?limit=1");
    while let Some(cursor) = service.get(&next).await.ok()["next_cursor"].as_str() {
        next = format!("{path}?limit=1&cursor={cursor}");
        cursors.push(cursor.to_owned());
        assert!(cursors.len() < 100, "the pages never end: {next}");
    }
    cursors
}

/// Creates a database with 12 orders of user `1`, at various times.
async fn database_with_12_orders() -> TestDatabase {
    TestDatabase::demo_with(
        r#"INSERT INTO client1.orders (id, user_id, creation_timestamp) VALUES
            ('3', '1', NULL), ('é "quoted"\', '1', NULL), ('', '1', '0001-01-01'), ('4', '1', '2024-02-29 12:00'),
            ('5', '1', '2024-02-29 12:00'), ('6', '1', '2024-02-29 12:00:00.000001'),
            ('7', '1', '9999-12-31 23:59:59.999999'), ('8', '1', '1999-12-31'), ('9', '1', '2000-01-01'),
            ('/', '1', '2020-01-01')"#,
    ).await
}

#[tokio::test]
async fn query_parameters_select_the_page_or_get_400() {
    let mut random = Random::new();
    let database = database_with_12_orders().await;
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
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        let query = query.join("&");
        let values_of = |name| {
            pairs
                .iter()
                .filter(move |pair| pair.0 == name)
                .map(|pair| &pair.1)
        };
        let limit = match values_of("limit").next() {
            None => Some(100),
            Some(limit) => Some(limit)
                .filter(|limit| !limit.is_empty() && limit.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|limit| limit.parse::<u128>().ok())
                .filter(|limit| (1..=1000).contains(limit)),
        };
        let skipped = match values_of("cursor").next() {
            None => Some(0),
            Some(cursor) => cursors
                .iter()
                .position(|known| known == cursor)
                .map(|position| position + 1),
        };
        let is_unique = ["limit", "cursor"]
            .iter()
            .all(|name| values_of(name).count() <= 1);
        let answer = service.get(&format!("{path}?{query}")).await;
        match (limit, skipped) {
            (Some(limit), Some(skipped)) if is_unique => {
                assert_eq!(answer.status, 200, "{query}: {}", answer.text());
                let returned = answer.ok()["orders"].as_array().unwrap().len();
                assert_eq!(returned as u128, limit.min(12 - skipped as u128), "{query}");
            }
            _ => {
                assert_eq!(answer.status, 400, "{query}: {}", answer.text());
                answer.problem(400, "bad-request");
            }
        }
    }
}

fn encode(text: &str) -> String {
    percent_encode(text.as_bytes(), NON_ALPHANUMERIC).to_string()
}

#[tokio::test]
async fn any_query_string_gets_a_valid_response() {
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
        assert_valid_response(&answer, &query);
    }
}

/// Flips, truncates, removes, repeats, swaps or replaces some bytes.
fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
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
async fn tampered_cursor_gets_a_valid_response() {
    let mut random = Random::new();
    let service = Service::over(&database_with_12_orders().await);
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
        // Two of three cases change the decoded cursor, because most changes of the encoding are invalid.
        let decoded = BASE64URL_NOPAD.decode(cursor.as_bytes()).unwrap();
        let cursor = match case % 3 {
            0 => mutate(cursor.as_bytes(), &mut random),
            1 => BASE64URL_NOPAD
                .encode(&mutate(&decoded, &mut random))
                .into_bytes(),
            _ => {
                let decoded = json!([random.value(&times), random.value(texts())]);
                BASE64URL_NOPAD
                    .encode(decoded.to_string().as_bytes())
                    .into_bytes()
            }
        };
        let query = percent_encode(&cursor, NON_ALPHANUMERIC);
        let answer = service.get(&format!("{path}?cursor={query}")).await;
        let cursor = cursor.escape_ascii().to_string();
        assert_ne!(answer.status, 404, "{cursor}");
        assert_valid_response(&answer, &cursor);
        if answer.status == 200 {
            assert_eq!(answer.ok()["total_due"], "60000.00", "{cursor}");
        }
        *statuses.entry(answer.status.as_u16()).or_default() += 1;
    }
    assert_eq!(statuses.len(), 2, "expected both 200 and 400: {statuses:?}");
}
