//! `tenants move`: a tenant goes from node to node while it is served.

use super::{Asking, CitusDatabase};

/// Moves there, and back.
const ROUNDS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn while_a_tenant_is_moved_there_and_back_no_answer_is_wrong() {
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
    let asking = Asking::at_all_nodes(&citus, &["/users/1/orders?limit=3", "/users/2/orders"]);
    let first = citus.node("client1").unwrap();
    for _ in 0..ROUNDS {
        let to = citus.other_worker("client1").name.clone();
        let (status, _, told) = citus.run(&["tenants", "move", "client1", &to, "--yes"]);
        assert_eq!(status, Some(0), "{told}");
        let (before, after) = told.split_once('\n').unwrap();
        assert!(
            before.contains("in which writes wait") || before.contains("writes wait until"),
            "{told}"
        );
        assert!(after.contains(&format!("client1: moved to {to} in ")), "{told}");
        assert_eq!(citus.node("client1"), Some(to));
    }
    assert_eq!(citus.node("client1"), Some(first));
    assert!(asking.end().await > 0);
    // What was left on the node before is gone when the last of the moves is cleaned up after.
    citus.execute("CALL citus_cleanup_orphaned_resources()").await;
    citus.done(&["tenants", "check"]);
    let answer = citus.service().get("/users/2/orders").await.ok();
    assert_eq!(answer["total_due"], "10500.00");
    citus.drop().await;
}

#[tokio::test]
async fn a_move_that_cannot_be_is_refused_before_it_begins() {
    let Some(citus) = CitusDatabase::demo().await else {
        return;
    };
    let node = citus.node("client1").unwrap();
    let names: Vec<_> = citus.workers.iter().map(|worker| worker.name.as_str()).collect();
    citus.refused(
        &["tenants", "move", "client1", "nowhere:1", "--yes"],
        &format!(
            "no node that takes tenants is called \"nowhere:1\"; there are {}",
            names.join(", ")
        ),
    );
    citus.refused(
        &["tenants", "move", "client1", &node, "--yes"],
        "the tenant is on this node already",
    );
    citus.refused(
        &["tenants", "move", "client9", &node, "--yes"],
        "the schema does not exist",
    );
    citus
        .execute(
            "CREATE SCHEMA plain; CREATE TABLE plain.items (id varchar); CREATE TABLE plain.orders (id varchar)",
        )
        .await;
    citus.refused(
        &["tenants", "move", "plain", &node, "--yes"],
        "tenants distribute puts it on one",
    );
    citus.refused(&["tenants", "move", "client1", &node], "confirm it with --yes");
    assert_eq!(citus.node("client1"), Some(node));
    citus.drop().await;
}

#[tokio::test]
async fn a_table_without_a_key_is_moved_by_a_copy_which_is_told_before() {
    let Some(citus) = CitusDatabase::demo().await else {
        return;
    };
    citus
        .execute("CREATE TABLE client1.notes (note text); INSERT INTO client1.notes VALUES ('here')")
        .await;
    let to = citus.other_worker("client1").name.clone();
    let (status, _, told) = citus.run(&["tenants", "move", "client1", &to, "--yes"]);
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("writes wait until the copy is done"), "{told}");
    assert_eq!(citus.node("client1"), Some(to));
    assert_eq!(citus.text("SELECT note FROM client1.notes").await, "here");
    assert_eq!(
        citus.service().get("/users/1/orders").await.ok()["total_due"],
        "60000.00"
    );
    citus.drop().await;
}
