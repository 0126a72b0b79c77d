//! Pagination lists every order once, in order.

use super::money::expected_amount;
use super::*;

/// Times as the service returns them: many equal ones, and the limits of the supported range.
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

/// Orders of one user in a tenant that also has orders of other users.
struct Shop {
    connection: PgConnection,
    schema: String,
    user: String,
}

impl Shop {
    /// Adds orders, except those with an existing id.
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

    /// Returns the ids in the order of the API, by the column's collation.
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
        expected_amount(&sum).unwrap()
    }

    /// Requests all pages, runs `change` after each, and returns all orders.
    async fn list_all(
        &mut self,
        service: &Service,
        random: &mut Random,
        mut change: impl AsyncFnMut(&mut Self, &mut Random),
    ) -> Vec<Value> {
        let mut listed = Vec::new();
        let mut limit = random.value(limits());
        let mut next = format!("{}?limit={limit}", path_of(&self.user));
        loop {
            let answer = service.get(&next).await;
            let link = answer.next_page(&next);
            let page = answer.ok();
            assert_eq!(page["total_due"], self.total_due().await, "{next}");
            let orders = page["orders"].as_array().unwrap();
            assert!(orders.len() <= limit, "{next}");
            listed.extend_from_slice(orders);
            assert!(listed.len() < 1000, "the pages never end: {next}");
            let Some(cursor) = page["next_cursor"].as_str() else {
                assert_eq!(page["next_cursor"], Value::Null);
                assert_eq!(link, None, "{next}");
                return listed;
            };
            assert_eq!(orders.len(), limit, "{next}");
            let link = link.unwrap();
            assert!(link.ends_with(&format!("cursor={cursor}")), "{link}");
            next = if random.value(any::<bool>()) {
                link
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

/// Collations with different orders. The test creates the last one, which treats `a` and `A` as equal.
const COLLATIONS: [&str; 4] = ["C", "en-x-icu", "sv-x-icu", "loose"];

#[tokio::test]
async fn pages_list_every_order_once_while_orders_change() {
    let mut random = Random::new();
    let database = TestDatabase::demo().await;
    let service = Service::over(&database);
    let mut connection = database.connect().await;
    // PostgreSQL can be built without ICU.
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
            create_tenant(&format!("in {collation}"))
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
        insert_users(
            &mut connection,
            &format!("in {collation}"),
            std::slice::from_ref(&shop.user),
        )
        .await;
        // The orders of earlier cases stay, as orders of other users.
        let orders = random.value(vec((storable_texts(), times()), 0..40));
        let prefix = format!("{case} ");
        let orders: Vec<_> = orders
            .into_iter()
            .map(|(id, time)| (if case % 3 == 0 { id } else { prefix.clone() + &id }, time))
            .collect();
        shop.add(&orders, &mut random).await;
        let expected = shop.ids().await;

        let listed = shop.list_all(&service, &mut random, async |_, _| {}).await;
        assert_eq!(ids_of(&listed), expected);
        assert_newest_first(&listed);
        let created_at: HashMap<_, _> = orders.iter().rev().cloned().collect();
        for order in &listed {
            assert_eq!(
                order["created_at"],
                json!(created_at[order["id"].as_str().unwrap()])
            );
        }

        let mut removed = HashSet::new();
        let mut changes = 0;
        let listed = shop
            .list_all(&service, &mut random, async |shop, random| {
                changes += 1;
                if changes > 8 {
                    return; // otherwise small pages might never end
                }
                let mut ids = shop.ids().await;
                let mut added = random.value(vec((storable_texts(), times()), 0..3));
                for index in random.value(vec(any::<Index>(), 0..3)) {
                    if !ids.is_empty() {
                        removed.insert(ids.swap_remove(index.index(ids.len())));
                    }
                }
                shop.remove(&Vec::from_iter(removed.clone())).await;
                // A removed id does not return, because with another time it is another order.
                added.retain(|(id, _)| !removed.contains(id));
                shop.add(&added, random).await;
            })
            .await;
        assert_newest_first(&listed);
        let listed = ids_of(&listed);
        let distinct: HashSet<_> = listed.iter().collect();
        assert_eq!(distinct.len(), listed.len(), "listed twice: {listed:?}");
        let unchanged: Vec<_> = expected.iter().filter(|id| !removed.contains(*id)).collect();
        let listed: Vec<_> = listed
            .into_iter()
            .filter(|id| unchanged.iter().any(|kept| kept == id))
            .collect();
        assert_eq!(listed, unchanged);
    }
}

/// Asserts that times are descending. In this format, text order is time order.
fn assert_newest_first(orders: &[Value]) {
    let times: Vec<_> = orders
        .iter()
        .map(|order| order["created_at"].as_str().unwrap_or_default())
        .collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
}
