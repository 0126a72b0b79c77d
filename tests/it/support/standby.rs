//! Hot standbys: read-only replicas of a cluster.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Mutex;

use tenant_orders::embedded::{Binaries, DataDir};

use super::cluster::{Cluster, command_as_owner, data_dir_for_a_test};

impl Cluster {
    /// Creates and starts a hot standby of this cluster. Queries on it are cancelled at once if they conflict
    /// with replay.
    pub(crate) fn standby(&self) -> Self {
        let data_dir = DataDir::claim(Some(&data_dir_for_a_test())).unwrap();
        let binaries = Binaries::find(&data_dir).unwrap();
        let copied = command_as_owner(data_dir.path(), self.program("pg_basebackup"))
            .args(["--username=postgres", "--wal-method=stream", "--checkpoint=fast"])
            .arg("--write-recovery-conf")
            .arg("--host")
            .arg(self.socket_folder())
            .arg("--pgdata")
            .arg(data_dir.cluster())
            .status()
            .unwrap();
        assert!(copied.success());
        OpenOptions::new()
            .append(true)
            .open(data_dir.cluster().join("postgresql.conf"))
            .and_then(|mut configuration| configuration.write_all(b"max_standby_streaming_delay = 0\n"))
            .unwrap();
        let folder = data_dir.path().to_owned();
        let server = Mutex::new(Some(data_dir.start(&binaries).unwrap()));
        Self {
            folder,
            programs: self.programs.clone(),
            server,
        }
    }
}
