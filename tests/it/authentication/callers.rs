//! Whose orders a token opens.

use serde_json::{Value, json};

use super::signer::claims;
use super::{Guarded, INSUFFICIENT_SCOPE, unreachable_database};
use crate::support::{Answer, TestDatabase};

impl Guarded {
    async fn asks(&self, path: &str, more: Value) -> Answer {
        let token = self.signer.token(&claims(&more));
        self.get(path, &token).await
    }
}

/// What a client can tell one refusal from another by.
fn told(answer: &Answer) -> (String, Value) {
    let mut body = answer.problem(403, "forbidden");
    for of_the_request in ["instance", "request_id"] {
        body[of_the_request].take();
    }
    let mut headers = answer.headers.clone();
    for of_the_request in ["x-request-id", "content-length"] {
        headers.remove(of_the_request);
    }
    (format!("{headers:?}"), body)
}

#[tokio::test]
async fn a_token_opens_its_own_users_orders_and_nobody_elses() {
    let guarded = Guarded::demo().await;
    let own = guarded.asks("/users/2/orders", json!({ "sub": "2" })).await.ok();
    assert_eq!(own["total_due"], "10500.00");
    for sub in [
        json!("1"),
        json!(""),
        json!("2 "),
        json!("22"),
        json!("02"),
        json!(null),
    ] {
        let answer = guarded.asks("/users/2/orders", json!({ "sub": sub })).await;
        answer.problem(403, "forbidden");
        assert_eq!(answer.header("www-authenticate"), Some(INSUFFICIENT_SCOPE));
    }
}

#[tokio::test]
async fn ids_cannot_be_probed_with_somebody_elses_token() {
    let guarded = Guarded::demo().await;
    let existing = guarded.asks("/users/2/orders", json!({})).await;
    let missing = guarded.asks("/users/nobody/orders", json!({})).await;
    assert_eq!(told(&existing), told(&missing));
    // Nothing is looked up at all: without a database the answer is the same.
    let guarded = Guarded::over(unreachable_database(), json!({})).await;
    let unasked = guarded.asks("/users/2/orders", json!({})).await;
    assert_eq!(told(&existing), told(&unasked));
    guarded
        .asks("/users/1/orders", json!({}))
        .await
        .problem(503, "database-unavailable");
}

#[tokio::test]
async fn the_id_in_the_path_is_compared_as_it_is_looked_up() {
    let database = TestDatabase::demo().await;
    database
        .execute(
            "INSERT INTO public.users (id, organization_id)
             VALUES ('a/b', 'client1'), ('é', 'client1'), ('%31', 'client2'), ('A', 'client2')",
        )
        .await;
    let guarded = Guarded::over(database.database(), json!({})).await;
    for (path, sub) in [
        ("/users/%31/orders", "1"),
        ("/users/a%2Fb/orders", "a/b"),
        ("/users/a%2fb/orders", "a/b"),
        ("/users/%C3%A9/orders", "é"),
        ("/users/%2531/orders", "%31"),
    ] {
        let page = guarded.asks(path, json!({ "sub": sub })).await.ok();
        assert_eq!(page["user"]["id"], sub);
    }
    for (path, sub) in [
        ("/users/%2531/orders", "1"),
        ("/users/%31/orders", "%31"),
        ("/users/1%00/orders", "1"),
        ("/users/1%20/orders", "1"),
        ("/users/e%CC%81/orders", "é"),
        ("/users/A/orders", "a"),
        ("/users/1%2F..%2F2/orders", "2"),
    ] {
        let answer = guarded.asks(path, json!({ "sub": sub })).await;
        answer.problem(403, "forbidden");
    }
    // A NUL is an id that nobody has, and ends nothing.
    let answer = guarded.asks("/users/1%00/orders", json!({ "sub": "1\0" })).await;
    answer.problem(404, "user-not-found");
    let answer = guarded.asks("/users/%FF/orders", json!({})).await;
    answer.problem(400, "bad-request");
}

#[tokio::test]
async fn the_scope_for_all_opens_all_and_nothing_that_only_looks_like_it_does() {
    let guarded = Guarded::demo().await;
    let office = async |more: Value| {
        let mut claims = json!({ "sub": "office" });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        guarded.asks("/users/2/orders", claims).await
    };
    for good in [
        json!({ "scope": "orders:read:any" }),
        json!({ "scope": "openid orders:read:any profile" }),
        json!({ "scope": ["openid", "orders:read:any"] }),
        json!({ "scp": ["orders:read:any"] }),
        json!({ "scp": "orders:read:any", "scope": "openid" }),
        json!({ "scope": "orders:read:any", "sub": null }),
    ] {
        assert_eq!(office(good).await.ok()["total_due"], "10500.00");
    }
    let nobody = json!({ "scope": "orders:read:any", "sub": "office" });
    let answer = guarded.asks("/users/nobody/orders", nobody).await;
    answer.problem(404, "user-not-found");
    for wrong in [
        json!({}),
        json!({ "scope": "" }),
        json!({ "scope": "orders:read:anything" }),
        json!({ "scope": "orders:read:any:not" }),
        json!({ "scope": "not:orders:read:any" }),
        json!({ "scope": "orders:read" }),
        json!({ "scope": "ORDERS:READ:ANY" }),
        json!({ "scope": "orders:read:any,openid" }),
        json!({ "scope": "orders:read:*" }),
        json!({ "scope": ["openid orders:read:any"] }),
        json!({ "scope": null, "scopes": "orders:read:any" }),
        json!({ "roles": ["orders:read:any"] }),
    ] {
        let answer = office(wrong).await;
        answer.problem(403, "forbidden");
        assert_eq!(answer.header("www-authenticate"), Some(INSUFFICIENT_SCOPE));
    }
    for malformed in [
        json!({ "scope": 1 }),
        json!({ "scope": { "orders:read:any": true } }),
    ] {
        office(malformed).await.problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_token_of_an_organization_opens_no_other_ones_users() {
    let guarded = Guarded::demo().await;
    let own = json!({ "organization_id": "client1" });
    guarded.asks("/users/1/orders", own).await.ok();
    for foreign in ["client2", "", "Client1", "client1 ", "public", "\"client1\""] {
        let answer = guarded
            .asks("/users/1/orders", json!({ "organization_id": foreign }))
            .await;
        answer.problem(403, "forbidden");
        // Another scope would not help.
        assert_eq!(answer.header("www-authenticate"), None);
    }
    let office = json!({ "scope": "orders:read:any", "organization_id": "client1" });
    guarded.asks("/users/1/orders", office.clone()).await.ok();
    let foreign = guarded.asks("/users/2/orders", office.clone()).await;
    let missing = guarded.asks("/users/nobody/orders", office).await;
    assert_eq!(told(&foreign), told(&missing));
    guarded
        .asks("/users/1/orders", json!({ "organization_id": 1 }))
        .await
        .problem(401, "unauthorized");
}

#[tokio::test]
async fn a_foreign_organizations_tenant_is_not_even_entered() {
    let database = TestDatabase::demo().await;
    let guarded = Guarded::over(database.database(), json!({})).await;
    let office = |organization| json!({ "scope": "orders:read:any", "organization_id": organization });
    // The tenant is remembered from here on.
    guarded.asks("/users/2/orders", office("client2")).await.ok();
    let lock = database.lock("client2.orders").await;
    let answer = guarded.asks("/users/2/orders", office("client1")).await;
    answer.problem(403, "forbidden");
    lock.release().await;
    database.execute("DROP SCHEMA client2 CASCADE").await;
    let answer = guarded.asks("/users/2/orders", office("client1")).await;
    answer.problem(403, "forbidden");
    let answer = guarded.asks("/users/2/orders", office("client2")).await;
    answer.problem(503, "tenant-unavailable");
}

#[tokio::test]
async fn a_user_who_moved_is_their_new_organizations() {
    let database = TestDatabase::demo().await;
    let guarded = Guarded::over(database.database(), json!({})).await;
    let of = |organization| json!({ "organization_id": organization });
    guarded.asks("/users/1/orders", of("client1")).await.ok();
    database
        .execute("UPDATE public.users SET organization_id = 'client2' WHERE id = '1'")
        .await;
    let answer = guarded.asks("/users/1/orders", of("client1")).await;
    answer.problem(403, "forbidden");
    let page = guarded.asks("/users/1/orders", of("client2")).await.ok();
    assert_eq!(page["user"]["organization_id"], "client2");
}
