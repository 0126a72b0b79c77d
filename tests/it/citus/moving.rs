//! `tenants move`, during requests.

use super::{CitusDatabase, Load};

/// Number of moves: to another node and back.
const MOVES: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn move_never_causes_wrong_responses() {
    let Some(citus) = CitusDatabase::demo().await else {
        return;
    };
    citus
        .execute(
            "INSERT INTO client1.orders (id, creation_timestamp, quantity, user_id, item_id)
             SELECT 'many ' || n, timestamp '2024-01-01' + n * interval '1 minute', n % 7, '1', '1'
             FROM generate_series(1, 20000) AS n",
        )
        .await;
    let load = Load::at_all_nodes(&citus, &["/users/1/orders?limit=3", "/users/2/orders"]);
    let first = citus.node("client1").unwrap();
    for _ in 0..MOVES {
        let to = citus.other_worker("client1").name.clone();
        let (status, _, errors) = citus.run(&["tenants", "move", "client1", &to, "--yes"]);
        assert_eq!(status, Some(0), "{errors}");
        let (before, after) = errors.split_once('\n').unwrap();
        assert!(
            before.contains("writes wait briefly at the end") || before.contains("writes wait until"),
            "{errors}"
        );
        assert!(after.contains(&format!("client1: moved to {to} in ")), "{errors}");
        assert_eq!(citus.node("client1"), Some(to));
    }
    assert_eq!(citus.node("client1"), Some(first));
    assert!(load.stop().await > 0);
    // Citus removes the shards on the old node lazily.
    citus.execute("CALL citus_cleanup_orphaned_resources()").await;
    citus.run_ok(&["tenants", "check"]);
    let answer = citus.service().get("/users/2/orders").await.ok();
    assert_eq!(answer["total_due"], "10500.00");
    citus.drop().await;
}

#[tokio::test]
async fn impossible_moves_are_refused() {
    let Some(citus) = CitusDatabase::demo().await else {
        return;
    };
    let node = citus.node("client1").unwrap();
    let names: Vec<_> = citus.workers.iter().map(|worker| worker.name.as_str()).collect();
    citus.assert_refused(
        &["tenants", "move", "client1", "nowhere:1", "--yes"],
        &format!(
            "no node that can hold tenants is named \"nowhere:1\"; available: {}",
            names.join(", ")
        ),
    );
    citus.assert_refused(
        &["tenants", "move", "client1", &node, "--yes"],
        "the tenant is already on this node",
    );
    citus.assert_refused(
        &["tenants", "move", "client9", &node, "--yes"],
        "the schema does not exist",
    );
    citus
        .execute(
            "CREATE SCHEMA plain; CREATE TABLE plain.items (id varchar); CREATE TABLE plain.orders (id varchar)",
        )
        .await;
    citus.assert_refused(
        &["tenants", "move", "plain", &node, "--yes"],
        "run tenants distribute first",
    );
    citus.assert_refused(&["tenants", "move", "client1", &node], "pass --yes to proceed");
    assert_eq!(citus.node("client1"), Some(node));
    citus.drop().await;
}

#[tokio::test]
async fn table_without_a_key_is_moved_by_a_copy() {
    let Some(citus) = CitusDatabase::demo().await else {
        return;
    };
    citus
        .execute("CREATE TABLE client1.notes (note text); INSERT INTO client1.notes VALUES ('here')")
        .await;
    let to = citus.other_worker("client1").name.clone();
    let (status, _, errors) = citus.run(&["tenants", "move", "client1", &to, "--yes"]);
    assert_eq!(status, Some(0), "{errors}");
    assert!(errors.contains("writes wait until the copy is done"), "{errors}");
    assert_eq!(citus.node("client1"), Some(to));
    assert_eq!(citus.text("SELECT note FROM client1.notes").await, "here");
    assert_eq!(
        citus.service().get("/users/1/orders").await.ok()["total_due"],
        "60000.00"
    );
    citus.drop().await;
}
