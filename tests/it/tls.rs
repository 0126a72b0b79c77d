//! TLS to PostgreSQL: which certificates are accepted, and the hints for those that are not.

use std::error::Error;
use std::iter::successors;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use sqlx::Connection as _;
use sqlx::PgConnection;
use tenant_orders::admin::AdminDatabase;
use tenant_orders::config::{DatabaseUrl, PoolSettings};
use tenant_orders::users::UserDirectory;

use crate::support::{Cluster, Service, free_port, is_ci};

/// Creates certificates as people do: `authority` and `other` sign themselves, as PostgreSQL's manual shows;
/// `leaf` signs itself without being an authority; `san` and `name` are signed by the authority, for a name in
/// the subject alternative name or only in the subject; `version1` is as old as the one that Citus creates.
const CERTIFICATES: &str = "
    san=subjectAltName=DNS:localhost
    for name in authority other; do
        openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -addext $san -keyout $name.key -out $name.crt
    done
    openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -addext $san \
        -addext basicConstraints=critical,CA:FALSE -keyout leaf.key -out leaf.crt
    echo $san >san.cnf
    echo basicConstraints=CA:FALSE >name.cnf
    for name in san name version1; do
        openssl req -new -newkey rsa:2048 -nodes -subj /CN=localhost -keyout $name.key -out $name.csr
    done
    for name in san name; do
        openssl x509 -req -in $name.csr -CA authority.crt -CAkey authority.key -CAcreateserial \
            -extfile $name.cnf -out $name.crt
    done
    openssl x509 -req -in version1.csr -signkey version1.key -out version1.crt
    openssl x509 -in version1.crt -noout -text | grep 'Version: 1 '";

#[derive(Debug, PartialEq)]
enum Connection {
    Encrypted,
    Plain,
    /// Refused, with a message that contains this text.
    Refused(&'static str),
}
use Connection::{Encrypted, Plain, Refused};

const SELF_SIGNED: &str = "the server's certificate signs itself";
const NO_AUTHORITY: &str = "no trusted authority has signed the server's certificate";
const OTHER_NAME: &str = "the server's certificate is for another name";

/// Certificate of the server, host and parameters of the URL, and the connection. `{}` is the folder of the
/// certificates.
const CASES: &[(&str, &str, &str, Connection)] = &[
    ("authority", "localhost", "sslmode=require", Encrypted),
    (
        "authority",
        "localhost",
        "sslmode=verify-ca&sslrootcert={}/authority.crt",
        Refused(SELF_SIGNED),
    ),
    (
        "authority",
        "localhost",
        "sslmode=verify-full&sslrootcert={}/authority.crt",
        Refused(SELF_SIGNED),
    ),
    (
        "leaf",
        "localhost",
        "sslmode=verify-full&sslrootcert={}/leaf.crt",
        Encrypted,
    ),
    (
        "san",
        "localhost",
        "sslmode=verify-full&sslrootcert={}/authority.crt",
        Encrypted,
    ),
    (
        "san",
        "127.0.0.1",
        "sslmode=verify-full&sslrootcert={}/authority.crt",
        Refused(OTHER_NAME),
    ),
    (
        "san",
        "127.0.0.1",
        "sslmode=verify-ca&sslrootcert={}/authority.crt",
        Encrypted,
    ),
    (
        "san",
        "localhost",
        "sslmode=require&sslrootcert={}/authority.crt",
        Encrypted,
    ),
    (
        "san",
        "localhost",
        "sslmode=require&sslrootcert={}/other.crt",
        Refused(NO_AUTHORITY),
    ),
    ("san", "localhost", "sslmode=verify-full", Refused(NO_AUTHORITY)),
    ("san", "localhost", "sslrootcert=system", Refused(NO_AUTHORITY)),
    ("san", "localhost", "sslmode=prefer", Encrypted),
    ("san", "localhost", "", Encrypted),
    ("san", "localhost", "sslmode=allow", Plain),
    ("san", "localhost", "sslmode=disable", Plain),
    (
        "name",
        "localhost",
        "sslmode=verify-full&sslrootcert={}/authority.crt",
        Refused(OTHER_NAME),
    ),
    (
        "name",
        "localhost",
        "sslmode=verify-ca&sslrootcert={}/authority.crt",
        Encrypted,
    ),
    ("version1", "localhost", "sslmode=prefer", Plain),
    (
        "version1",
        "localhost",
        "sslmode=require",
        Refused("X.509 version 1"),
    ),
];

/// A server with TLS.
struct TlsServer {
    cluster: Cluster,
    port: u16,
    certificates: tempfile::TempDir,
}

impl TlsServer {
    /// Returns `None` if openssl is not installed.
    async fn start() -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            assert!(!is_ci(), "openssl is not installed");
            println!("skipped: openssl is not installed");
            return None;
        }
        let certificates = tempfile::tempdir().unwrap();
        let created = Command::new("sh")
            .args(["-euc", CERTIFICATES])
            .current_dir(certificates.path())
            .output()
            .unwrap();
        assert!(created.status.success(), "{created:?}");
        let cluster = Cluster::start().await;
        cluster.seed_demo("postgres").await;
        cluster.stop();
        let server = Self {
            cluster,
            port: free_port(),
            certificates,
        };
        server.append(
            "postgresql.conf",
            &format!(
                "listen_addresses = 'localhost'\nport = {}\nssl = on\n",
                server.port
            ),
        );
        Some(server)
    }

    fn append(&self, file: &str, text: &str) {
        let path = self.cluster.socket_folder().join(file);
        let text = std::fs::read_to_string(&path).unwrap() + text;
        std::fs::write(path, text).unwrap();
    }

    /// Starts the stopped server with a certificate.
    fn start_with(&self, certificate: &str) {
        let folder = self.cluster.socket_folder();
        let owner = std::fs::metadata(&folder).unwrap();
        for kind in ["crt", "key"] {
            let target = folder.join(format!("server.{kind}"));
            let source = self.certificates.path().join(format!("{certificate}.{kind}"));
            std::fs::copy(source, &target).unwrap();
            std::fs::set_permissions(&target, PermissionsExt::from_mode(0o600)).unwrap();
            chown(&target, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        self.cluster.start_again();
    }

    fn url(&self, host: &str, parameters: &str) -> DatabaseUrl {
        let parameters = parameters.replace("{}", self.certificates.path().to_str().unwrap());
        let port = self.port;
        format!("postgres://postgres@{host}:{port}/postgres?{parameters}").into()
    }

    /// Connects once, and then serves a request.
    async fn connect(&self, url: &DatabaseUrl) -> Result<Connection, String> {
        let database = AdminDatabase::new(url).map_err(|error| error.to_string())?;
        database
            .require_sessions()
            .await
            .map_err(|error| messages(&error))?;
        let users = UserDirectory::open(url, &PoolSettings::default()).unwrap();
        let service = Service::new(users);
        assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60000.00");
        let socket = self.cluster.socket_folder();
        let socket = format!(
            "postgres:///postgres?host={}&port={}&user=postgres",
            socket.display(),
            self.port
        );
        let mut observer = PgConnection::connect(&socket).await.unwrap();
        let is_encrypted: bool = sqlx::query_scalar(
            "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
             WHERE application_name = 'tenant-orders' ORDER BY backend_start DESC LIMIT 1",
        )
        .fetch_one(&mut observer)
        .await
        .unwrap();
        Ok(if is_encrypted { Encrypted } else { Plain })
    }
}

fn messages(error: &(dyn Error + 'static)) -> String {
    let chain = successors(Some(error), |&error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_verified_as_sslmode_demands() {
    let Some(server) = TlsServer::start().await else {
        return;
    };
    for cases in CASES.chunk_by(|(one, ..), (other, ..)| one == other) {
        server.start_with(cases[0].0);
        for (certificate, host, parameters, expected) in cases {
            let connection = server.connect(&server.url(host, parameters)).await;
            let case = format!("{certificate}, {host}, {parameters}");
            match (expected, connection) {
                (Refused(message), Err(error)) => assert!(error.contains(message), "{case}: {error}"),
                (expected, connection) => assert_eq!(connection.as_ref(), Ok(expected), "{case}"),
            }
        }
        server.cluster.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_decides_whether_allow_and_prefer_use_tls() {
    let Some(server) = TlsServer::start().await else {
        return;
    };
    let rules: PathBuf = server.cluster.socket_folder().join("pg_hba.conf");
    for (kind, expected) in [("hostssl", Encrypted), ("hostnossl", Plain)] {
        std::fs::write(&rules, format!("local all all trust\n{kind} all all all trust\n")).unwrap();
        server.start_with("san");
        for mode in ["allow", "prefer"] {
            let url = server.url("localhost", &format!("sslmode={mode}"));
            assert_eq!(
                server.connect(&url).await.as_ref(),
                Ok(&expected),
                "{kind}, {mode}"
            );
        }
        server.cluster.stop();
    }
}
