//! Organizations reach exactly the schema of their name, or none.

use super::*;

#[tokio::test]
async fn organization_reaches_only_the_schema_of_exactly_its_name() {
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
        // Similar names, which wrong quoting, case folding or truncation would confuse with this one.
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
    organizations.remove("client1"); // the demo's tenant already has orders

    let mut cases = Vec::new();
    for (number, organization) in organizations.into_iter().enumerate() {
        let user = format!("p{number}");
        insert_users(&mut connection, &organization, std::slice::from_ref(&user)).await;
        let is_valid = (1..=63).contains(&organization.len())
            && !organization.starts_with("pg_")
            && !reserved.contains(&organization.as_str());
        // Half of the valid names have a schema. All names of the maximum length have one, which a truncated
        // longer name would reach.
        let exists = is_valid && (organization.len() == 63 || random.value(any::<bool>()));
        let schema = exists.then(|| SchemaName::parse(&organization).unwrap().quoted());
        if schema.is_some() {
            connection
                .execute(sql(create_tenant(&organization)))
                .await
                .unwrap();
        }
        for schema in schema.iter().map(String::as_str).chain(["public"]) {
            let price = if schema == "public" {
                -1
            } else {
                number.try_into().unwrap()
            };
            let fill = format!(
                "INSERT INTO {schema}.items (id, price) VALUES ('{user}', {price});
                 INSERT INTO {schema}.orders (id, user_id, item_id, quantity)
                 VALUES ('{user}', '{user}', '{user}', 1);"
            );
            connection.execute(sql(fill)).await.unwrap();
        }
        cases.push((organization, exists));
    }
    assert!(cases.iter().any(|(_, exists)| *exists));

    let service = Service::over(&database);
    for _ in 0..2 {
        for (number, (organization, exists)) in cases.iter().enumerate() {
            let answer = service.get(&format!("/users/p{number}/orders")).await;
            if *exists {
                assert_eq!(answer.status, 200, "{organization:?}: {}", answer.text());
                let page = answer.ok();
                assert_eq!(page["user"]["organization_id"], *organization);
                assert_eq!(page["orders"].as_array().unwrap().len(), 1, "{organization:?}");
                assert_eq!(page["orders"][0]["id"], format!("p{number}"), "{organization:?}");
                assert_eq!(page["total_due"], format!("{number}.00"), "{organization:?}");
            } else {
                assert_eq!(answer.status, 503, "{organization:?}: {}", answer.text());
                answer.problem(503, "tenant-unavailable");
            }
        }
    }
}
