//! PgBouncer in front of a cluster.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Child;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tenant_orders::config::program_folders;

use super::cluster::{command_as_owner, shared};
use super::{Cluster, block_until, data_dir_for_a_test};

/// Maximum number of server connections per database.
const MAX_SERVER_CONNECTIONS: u32 = 3;

pub(crate) struct PgBouncer {
    child: Child,
    folder: PathBuf,
}

impl PgBouncer {
    /// Starts PgBouncer in front of the shared cluster. Returns `None` if it is not installed.
    pub(crate) fn start(pool_mode: &str, more: &str) -> Option<Self> {
        Self::before(shared(), pool_mode, more)
    }

    /// Starts PgBouncer in front of `cluster`. If it is not installed, prints a message and returns `None`, or
    /// panics in CI.
    pub(crate) fn before(cluster: &Cluster, pool_mode: &str, more: &str) -> Option<Self> {
        let Some(program) = find() else {
            assert!(!is_ci(), "PgBouncer is not installed");
            println!("skipped: PgBouncer is not installed (Debian: apt install pgbouncer)");
            return None;
        };
        let folder = data_dir_for_a_test();
        std::fs::create_dir(&folder).unwrap();
        let server = cluster.socket_folder();
        let users = folder.join("users");
        std::fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let configuration = folder.join("pgbouncer.ini");
        std::fs::write(
            &configuration,
            format!(
                "[databases]\n* = host={server} port=5432\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\n\
                 unix_socket_dir = {folder}\nauth_type = trust\nauth_file = {users}\n\
                 pool_mode = {pool_mode}\ndefault_pool_size = {MAX_SERVER_CONNECTIONS}\nmax_client_conn = 500\n\
                 server_login_retry = 0.2\nlogfile = {folder}/pgbouncer.log\n{more}\n",
                server = server.display(),
                folder = folder.display(),
                users = users.display(),
            ),
        )
        .unwrap();
        let owner = std::fs::metadata(server.parent().unwrap()).unwrap();
        for path in [&folder, &users, &configuration] {
            chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        let child = command_as_owner(&folder, program)
            .arg(&configuration)
            .spawn()
            .unwrap();
        block_until("PgBouncer listens", || folder.join(".s.PGSQL.6432").exists());
        Some(Self { child, folder })
    }

    /// The path of its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join(".s.PGSQL.6432")
    }

    pub(crate) fn url(&self, database: &str) -> String {
        let socket = utf8_percent_encode(self.folder.to_str().unwrap(), NON_ALPHANUMERIC);
        format!("postgres:///{database}?host={socket}&port=6432&user=postgres&sslmode=disable")
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find() -> Option<PathBuf> {
    let mut folders = program_folders();
    folders.push(Path::new("/usr/sbin").to_owned());
    folders
        .into_iter()
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program.exists())
}

#[expect(clippy::disallowed_methods, reason = "CI is not a setting of the service")]
pub(crate) fn is_ci() -> bool {
    std::env::var_os("CI").is_some()
}
