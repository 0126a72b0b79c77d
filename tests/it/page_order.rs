//! Pages of orders whose ids are equal in the collation or the type of the column, but differ in their bytes.

use std::collections::BTreeSet;

use crate::support::{Service, TestDatabase};

const IDS: [&str; 8] = ["a", "A", "b", "B", "á", "Á", "aa", "AA"];

/// Returns the ids of all orders of user 1, read in pages of `limit`.
async fn ids_of_all_pages(service: &Service, limit: usize) -> Vec<String> {
    let mut ids = Vec::new();
    let mut path = format!("/users/1/orders?limit={limit}");
    while ids.len() <= 3 * IDS.len() {
        let page = service.get(&path).await.ok();
        assert_eq!(page["total_due"], "48.00");
        let orders = page["orders"].as_array().unwrap().iter();
        ids.extend(orders.map(|order| order["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else {
            return ids;
        };
        path = format!("/users/1/orders?limit={limit}&cursor={cursor}");
    }
    panic!("the pages do not end: {ids:?}");
}

#[tokio::test]
async fn pages_have_each_order_once_with_any_collation_of_ids() {
    for id_type in [
        "text COLLATE no_case",
        "text COLLATE no_accents",
        "text COLLATE \"en-x-icu\"",
        "citext",
    ] {
        let database = TestDatabase::existing_with(format!(
            "CREATE EXTENSION citext;
             CREATE COLLATION no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
             CREATE COLLATION no_accents (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
             DELETE FROM client1.orders; ALTER TABLE client1.orders DROP CONSTRAINT orders_pkey;
             ALTER TABLE client1.orders ALTER id TYPE {id_type};
             INSERT INTO client1.orders (id, quantity, user_id, item_id)
                 SELECT id, 1, '1', '1' FROM unnest('{{{}}}'::text[]) id;
             UPDATE client1.items SET price = 6",
            IDS.join(",")
        ))
        .await;
        for times in [
            "NULL",
            "'2026-01-01'",
            "CASE WHEN lower(id::text) = 'a' THEN '2026-01-01'::timestamp END",
        ] {
            database
                .execute(format!("UPDATE client1.orders SET creation_timestamp = {times}"))
                .await;
            let service = Service::over(&database);
            let all = ids_of_all_pages(&service, 100).await;
            assert_eq!(BTreeSet::from_iter(&all).len(), IDS.len(), "{all:?}");
            for limit in [1, 3] {
                assert_eq!(
                    ids_of_all_pages(&service, limit).await,
                    all,
                    "{id_type}, {times}, {limit}"
                );
                // The types of the columns are not known to a new service.
                let restarted = Service::over(&database);
                assert_eq!(
                    ids_of_all_pages(&restarted, limit).await,
                    all,
                    "{id_type}, {times}, {limit}"
                );
            }
        }
    }
}
