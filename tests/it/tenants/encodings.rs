//! Names of tenants in databases that are not UTF-8: their length counts in the encoding of the database.

use super::{assert_refused, catalog, json, tenants};
use crate::support::{Service, ServiceProcess, TestDatabase, finished};

/// In the encoding `EUC_JP`, `é` has three bytes: PostgreSQL truncates a name of 31 to one of 21.
#[tokio::test]
async fn name_that_the_server_truncates_is_refused() {
    let options = "ENCODING 'EUC_JP' LC_COLLATE 'C' LC_CTYPE 'C'";
    let database = TestDatabase::with_options(options).await;
    let (short, long) = ("é".repeat(21), "é".repeat(31));
    let before = catalog(&database).await;
    let reason = format!(
        "the schema name \"{long}\" is too long: 93 bytes in the encoding of the database, at most 63"
    );
    assert_refused(&tenants(&database, &["create", &long]), &reason);
    assert_eq!(catalog(&database).await, before);
    assert_eq!(tenants(&database, &["create", &short]).0, Some(0));
    let users =
        format!("INSERT INTO public.users (id, organization_id) VALUES ('1', '{short}'), ('2', '{long}')");
    database.execute(users).await;
    let archive = tempfile::NamedTempFile::new().unwrap();
    let file = archive.path().to_str().unwrap();
    for arguments in [
        &["create", &long] as &[&str],
        &["check", &long],
        &["drop", &long, "--yes", "--force"],
        &["export", &long, "--output", file],
        &["query", "SELECT 1", "--tenant", &long],
    ] {
        assert_refused(&tenants(&database, arguments), &reason);
    }
    let migrate = finished(
        ServiceProcess::command()
            .args(["migrate", "--tenant", &long])
            .env("DATABASE_URL", database.url()),
    );
    assert_refused(&migrate, &reason);
    let (status, output, errors) = tenants(&database, &["list"]);
    assert_eq!(status, Some(0));
    assert!(output.contains("misnamed"), "{output}");
    assert!(errors.contains(&reason), "{errors}");
    let (_, listed) = json(&database, &["list"]);
    assert_eq!(listed[0]["state"], "current");
    assert_eq!(
        (&listed[1]["name"], &listed[1]["state"]),
        (&long.as_str().into(), &"misnamed".into())
    );
    let checked = tenants(&database, &["check"]);
    assert_eq!(checked.0, Some(1));
    assert!(checked.1.contains(&reason), "{checked:?}");
}

/// In LATIN1, `é` has one byte: a name of 40 fits, although it has 80 bytes in UTF-8.
#[tokio::test]
async fn name_that_fits_in_the_servers_encoding_is_a_tenant() {
    let database = TestDatabase::latin1().await;
    let name = "é".repeat(40);
    assert_eq!(tenants(&database, &["create", &name]).0, Some(0));
    let user = format!("INSERT INTO public.users (id, organization_id) VALUES ('1', '{name}')");
    database.execute(user).await;
    let page = Service::over(&database).get("/users/1/orders").await.ok();
    assert_eq!(page["total_due"], "0.00");
    let (_, listed) = json(&database, &["list"]);
    assert_eq!(
        (&listed[0]["name"], &listed[0]["state"]),
        (&name.as_str().into(), &"current".into())
    );
    let archive = tempfile::NamedTempFile::new().unwrap();
    let file = archive.path().to_str().unwrap();
    for arguments in [
        &["check"] as &[&str],
        &["check", &name],
        &["query", "SELECT count(*) FROM orders", "--tenant", &name],
        &["export", &name, "--output", file],
        &["drop", &name, "--yes", "--force"],
        &["import", file],
        &["drop", &name, "--yes", "--force"],
    ] {
        let (status, output, errors) = tenants(&database, arguments);
        assert_eq!(status, Some(0), "{arguments:?}: {output}{errors}");
    }
    assert_refused(
        &tenants(&database, &["create", "名"]),
        "has no equivalent in encoding \"LATIN1\"",
    );
}
