//! The orders that a token grants access to.

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tenant_orders::config::AuthenticationSettings;

use super::signer::claims;
use super::{Guarded, INSUFFICIENT_SCOPE, unreachable_database};
use crate::support::{Answer, TestDatabase, snapshot};

impl Guarded {
    async fn get_with(&self, path: &str, extra_claims: Value) -> Answer {
        let token = self.signer.token(&claims(&extra_claims));
        self.get(path, &token).await
    }
}

/// Returns all of a refusal that does not depend on the request itself.
fn comparable(answer: &Answer) -> Value {
    answer.problem(403, "forbidden");
    let mut response = snapshot(answer);
    response["body"]["instance"].take();
    response
}

#[tokio::test]
async fn token_grants_access_to_its_own_user_only() {
    let guarded = Guarded::demo().await;
    let own = guarded
        .get_with("/users/2/orders", json!({ "sub": "2" }))
        .await
        .ok();
    assert_eq!(own["total_due"], "10500.00");
    for sub in [
        json!("1"),
        json!(""),
        json!("2 "),
        json!("22"),
        json!("02"),
        json!(null),
    ] {
        let answer = guarded.get_with("/users/2/orders", json!({ "sub": sub })).await;
        answer.problem(403, "forbidden");
        assert_eq!(answer.header("www-authenticate"), Some(INSUFFICIENT_SCOPE));
    }
}

#[tokio::test]
async fn refusal_does_not_reveal_whether_a_user_exists() {
    let guarded = Guarded::demo().await;
    let existing = guarded.get_with("/users/2/orders", json!({})).await;
    let missing = guarded.get_with("/users/unknown/orders", json!({})).await;
    assert_eq!(comparable(&existing), comparable(&missing));
    assert_json_snapshot!(snapshot(&existing), @r#"
    {
      "body": {
        "detail": "The token belongs to another user and lacks the scope orders:read:any.",
        "instance": "/users/2/orders",
        "request_id": "[request id]",
        "status": 403,
        "title": "Forbidden",
        "type": "/problems/forbidden"
      },
      "headers": {
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "content-type": "application/problem+json",
        "referrer-policy": "no-referrer",
        "www-authenticate": "Bearer realm=\"tenant-orders\", error=\"insufficient_scope\", scope=\"orders:read:any\"",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "x-request-id": "[request id]"
      },
      "status": 403
    }
    "#);
    // There is no lookup: without a database the response is the same.
    let guarded = Guarded::over(unreachable_database()).await;
    let without_database = guarded.get_with("/users/2/orders", json!({})).await;
    assert_eq!(comparable(&existing), comparable(&without_database));
    guarded
        .get_with("/users/1/orders", json!({}))
        .await
        .problem(503, "database-unavailable");
}

#[tokio::test]
async fn subject_is_compared_with_the_decoded_id() {
    let database = TestDatabase::demo_with(
        "INSERT INTO public.users (id, organization_id)
         VALUES ('a/b', 'client1'), ('é', 'client1'), ('%31', 'client2'), ('A', 'client2')",
    )
    .await;
    let guarded = Guarded::over(database.database()).await;
    for (path, sub) in [
        ("/users/%31/orders", "1"),
        ("/users/a%2Fb/orders", "a/b"),
        ("/users/a%2fb/orders", "a/b"),
        ("/users/%C3%A9/orders", "é"),
        ("/users/%2531/orders", "%31"),
    ] {
        let page = guarded.get_with(path, json!({ "sub": sub })).await.ok();
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
        let answer = guarded.get_with(path, json!({ "sub": sub })).await;
        answer.problem(403, "forbidden");
    }
    // A NUL does not end the id.
    let answer = guarded
        .get_with("/users/1%00/orders", json!({ "sub": "1\0" }))
        .await;
    answer.problem(404, "user-not-found");
    let answer = guarded.get_with("/users/%FF/orders", json!({})).await;
    answer.problem(400, "bad-request");
}

#[tokio::test]
async fn only_the_exact_scope_grants_access_to_all_users() {
    let guarded = Guarded::demo().await;
    let office = async |extra_claims: Value| {
        let mut claims = json!({ "sub": "office" });
        for (name, value) in extra_claims.as_object().unwrap() {
            claims[name] = value.clone();
        }
        guarded.get_with("/users/2/orders", claims).await
    };
    for valid in [
        json!({ "scope": "orders:read:any" }),
        json!({ "scope": "openid orders:read:any profile" }),
        json!({ "scope": ["openid", "orders:read:any"] }),
        json!({ "scp": ["orders:read:any"] }),
        json!({ "scp": "orders:read:any", "scope": "openid" }),
        json!({ "scope": "orders:read:any", "sub": null }),
        json!({ "permissions": ["openid", "orders:read:any"] }),
        json!({ "permissions": [{ "name": "x" }, "orders:read:any"], "scope": "openid", "scp": [] }),
    ] {
        assert_eq!(office(valid).await.ok()["total_due"], "10500.00");
    }
    let unknown = json!({ "scope": "orders:read:any", "sub": "office" });
    let answer = guarded.get_with("/users/unknown/orders", unknown).await;
    answer.problem(404, "user-not-found");
    for invalid in [
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
        json!({ "permissions": "orders:read:any" }),
        json!({ "permissions": { "orders:read:any": true } }),
        json!({ "permissions": [["orders:read:any"], { "name": "orders:read:any" }] }),
    ] {
        let answer = office(invalid).await;
        answer.problem(403, "forbidden");
        assert_eq!(answer.header("www-authenticate"), Some(INSUFFICIENT_SCOPE));
    }
    for malformed in [
        json!({ "scope": 1 }),
        json!({ "scope": { "orders:read:any": true } }),
        json!({ "scp": ["orders:read:any", 1] }),
    ] {
        office(malformed).await.problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn token_is_restricted_to_its_organization() {
    let guarded = Guarded::demo().await;
    let own = json!({ "organization_id": "client1" });
    guarded.get_with("/users/1/orders", own).await.ok();
    for foreign in ["client2", "", "Client1", "client1 ", "public", "\"client1\""] {
        let answer = guarded
            .get_with("/users/1/orders", json!({ "organization_id": foreign }))
            .await;
        answer.problem(403, "forbidden");
        // No other scope would grant access.
        assert_eq!(answer.header("www-authenticate"), None);
    }
    let office = json!({ "scope": "orders:read:any", "organization_id": "client1" });
    guarded.get_with("/users/1/orders", office.clone()).await.ok();
    let foreign = guarded.get_with("/users/2/orders", office.clone()).await;
    let missing = guarded.get_with("/users/unknown/orders", office).await;
    assert_eq!(comparable(&foreign), comparable(&missing));
    guarded
        .get_with("/users/1/orders", json!({ "organization_id": 1 }))
        .await
        .problem(401, "unauthorized");
}

#[tokio::test]
async fn numeric_subject_is_its_decimal_text() {
    let guarded = Guarded::demo().await;
    guarded
        .get_with("/users/1/orders", json!({ "sub": 1 }))
        .await
        .ok();
    for (path, sub) in [
        ("/users/1/orders", json!(2)),
        ("/users/01/orders", json!(1)),
        ("/users/1.0/orders", json!(1)),
    ] {
        let answer = guarded.get_with(path, json!({ "sub": sub })).await;
        answer.problem(403, "forbidden");
    }
    for sub in [json!(1.0), json!(1e3), json!(1e30), json!(true), json!(["1"])] {
        let answer = guarded.get_with("/users/1/orders", json!({ "sub": sub })).await;
        answer.problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn claims_are_read_from_the_configured_locations() {
    let settings = AuthenticationSettings {
        jwt_subject_claim: "/https:~1~1example.com~1user".to_owned(),
        jwt_organization_claim: "/app/orgs/0/~0id".to_owned(),
        ..AuthenticationSettings::default()
    };
    let guarded = Guarded::over_with(TestDatabase::demo().await.database(), settings).await;
    let get = async |user: Value, organization: Value| {
        let claims = json!({
            "sub": "2",
            "organization_id": "client2",
            "https://example.com/user": user,
            "app": { "orgs": [{ "~id": organization }] },
        });
        guarded.get_with("/users/1/orders", claims).await
    };
    get(json!("1"), json!("client1")).await.ok();
    get(json!("1"), json!(null)).await.ok();
    get(json!("2"), json!("client1")).await.problem(403, "forbidden");
    get(json!(null), json!("client1")).await.problem(403, "forbidden");
    get(json!("1"), json!("client2")).await.problem(403, "forbidden");
    get(json!("1"), json!(["client1"]))
        .await
        .problem(401, "unauthorized");
}

#[tokio::test]
async fn refusal_does_not_query_the_other_organization() {
    let database = TestDatabase::demo().await;
    let guarded = Guarded::over(database.database()).await;
    let office = |organization| json!({ "scope": "orders:read:any", "organization_id": organization });
    // This caches the tenant.
    guarded.get_with("/users/2/orders", office("client2")).await.ok();
    let lock = database.lock("client2.orders").await;
    let answer = guarded.get_with("/users/2/orders", office("client1")).await;
    answer.problem(403, "forbidden");
    lock.release().await;
    database.execute("DROP SCHEMA client2 CASCADE").await;
    let answer = guarded.get_with("/users/2/orders", office("client1")).await;
    answer.problem(403, "forbidden");
    let answer = guarded.get_with("/users/2/orders", office("client2")).await;
    answer.problem(503, "tenant-unavailable");
}

#[tokio::test]
async fn moved_user_belongs_to_the_new_organization() {
    let database = TestDatabase::demo().await;
    let guarded = Guarded::over(database.database()).await;
    let restricted_to = |organization| json!({ "organization_id": organization });
    guarded
        .get_with("/users/1/orders", restricted_to("client1"))
        .await
        .ok();
    database
        .execute("UPDATE public.users SET organization_id = 'client2' WHERE id = '1'")
        .await;
    let answer = guarded
        .get_with("/users/1/orders", restricted_to("client1"))
        .await;
    answer.problem(403, "forbidden");
    let page = guarded
        .get_with("/users/1/orders", restricted_to("client2"))
        .await
        .ok();
    assert_eq!(page["user"]["organization_id"], "client2");
}
