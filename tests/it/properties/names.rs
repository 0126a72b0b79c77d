//! Schema names: exactly the schema of this name, or none.

use super::*;

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
