//! Tests of `url.rs`.

use super::*;

fn hosts(url: &str) -> Vec<(String, u16)> {
    let parsed = ConnectUrl::parse(url, None)
        .map_err(|error| panic!("{url}: {error}"))
        .unwrap();
    parsed
        .hosts
        .iter()
        .map(|options| {
            let host = options.get_socket().map_or_else(
                || options.get_host().to_owned(),
                |folder| folder.display().to_string(),
            );
            (host, options.get_port())
        })
        .collect()
}

#[test]
fn hosts_and_ports_are_those_of_libpq() {
    for (url, expected) in [
        ("postgres://u:p@a/shop", vec![("a", 5432)]),
        ("postgres://a,b:5433/shop", vec![("a", 5432), ("b", 5433)]),
        (
            "postgresql://u@[::1]:5433,[fe80::1]/x",
            vec![("::1", 5433), ("fe80::1", 5432)],
        ),
        ("postgres://u:p@/db?host=/socket", vec![("/socket", 5432)]),
        ("postgres:///db?host=a,b&port=1,2", vec![("a", 1), ("b", 2)]),
        ("postgres:///db?host=a,b&port=7", vec![("a", 7), ("b", 7)]),
        ("postgres://name/db?hostaddr=::1", vec![("::1", 5432)]),
        ("postgres://%2Fvar%2Frun:5433/db", vec![("/var/run", 5433)]),
    ] {
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(host, port)| (host.to_owned(), port))
            .collect();
        assert_eq!(hosts(url), expected, "{url}");
    }
}

#[test]
fn user_and_database_are_kept() {
    let parsed = ConnectUrl::parse("postgres://me:p%40ss@/shop?host=/socket", None)
        .ok()
        .unwrap();
    assert_eq!(parsed.hosts[0].get_username(), "me");
    assert_eq!(parsed.hosts[0].get_database(), Some("shop"));
}

#[test]
fn invalid_urls_are_refused_without_their_values() {
    for (url, expected) in [
        ("mysql://a/b", "not a PostgreSQL URL"),
        ("postgres://me@[::1/x", "not a PostgreSQL URL"),
        ("postgres://a:secret/x@b/c", "not a PostgreSQL URL"),
        (
            "postgres://a/b?channel_binding=secret",
            "unsupported parameter channel_binding",
        ),
        (
            "postgres://a/b?target_session_attrs=secret",
            "invalid target_session_attrs",
        ),
        ("postgres://a:99999/b", "invalid port"),
        ("postgres:///b?host=a,b&port=1,2,3", "invalid port"),
        ("postgres://a/b?sslrootcert=/does/not/exist", "/does/not/exist"),
        ("postgres://a/b?sslmode=require&sslrootcert=system", "verify-full"),
    ] {
        let error = ConnectUrl::parse(url, None).err().unwrap().to_string();
        assert!(error.contains(expected), "{url}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn root_certificate_makes_require_verify() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display();
    for (parameters, expected) in [
        (format!("sslmode=require&sslrootcert={path}"), "VerifyCa"),
        (format!("sslmode=verify-full&sslrootcert={path}"), "VerifyFull"),
        ("sslrootcert=system".to_owned(), "VerifyFull"),
        ("sslmode=require".to_owned(), "Require"),
    ] {
        let parsed = ConnectUrl::parse(&format!("postgres://a/b?{parameters}"), None)
            .ok()
            .unwrap();
        assert_eq!(
            format!("{:?}", parsed.hosts[0].get_ssl_mode()),
            expected,
            "{parameters}"
        );
    }
}

#[test]
fn default_root_certificate_is_trusted_without_another() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for (parameters, expected) in [
        ("sslmode=require", PgSslMode::VerifyCa),
        ("sslmode=prefer", PgSslMode::Prefer),
        ("sslrootcert=system", PgSslMode::VerifyFull),
    ] {
        let url = format!("postgres://a/b?{parameters}");
        let parsed = ConnectUrl::parse(&url, Some(file.path())).ok().unwrap();
        let mode = parsed.hosts[0].get_ssl_mode();
        assert_eq!(format!("{mode:?}"), format!("{expected:?}"), "{parameters}");
    }
}
