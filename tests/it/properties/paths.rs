//! Ids in the path, and arbitrary request targets.

use super::*;

#[tokio::test]
async fn id_in_the_path_finds_exactly_its_user() {
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

    let mut requested: Vec<String> = users.keys().cloned().collect();
    for id in users.keys() {
        // Similar ids, which wrong decoding, trimming, case folding or truncation would confuse with this one.
        requested.extend([
            format!("{id} "),
            format!(" {id}"),
            format!("{id}\0"),
            format!("{id}/"),
            id.to_uppercase(),
            id.to_lowercase(),
            id.replace('+', " "),
            percent_encode_randomly(id, &mut random),
        ]);
    }
    requested.extend(random.value(vec(texts(), random.cases())));
    for id in requested {
        let path = format!("/users/{}/orders", percent_encode_randomly(&id, &mut random));
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
async fn any_request_target_gets_a_valid_response() {
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
        // The server rejects an invalid URI before it reaches the router.
        let Ok(uri) = Uri::try_from(target.clone()) else {
            continue;
        };
        sent += 1;
        let answer = service.send(Request::get(uri).body(Body::empty()).unwrap()).await;
        assert_valid_response(&answer, &target.escape_ascii().to_string());
    }
    assert!(sent > random.cases(), "too few valid URIs: {sent}");
}
