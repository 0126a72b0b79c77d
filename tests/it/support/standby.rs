//! Hot standbys: read-only replicas of a cluster.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Mutex;

use sqlx::{Connection, Row};
use tenant_orders::embedded::{Binaries, DataDir};

use super::cluster::{Cluster, command_as_owner, data_dir_for_a_test, in_own_runtime, sql};

impl Cluster {
    /// Creates and starts a hot standby of this cluster. Queries on it are cancelled at once if they conflict
    /// with replay.
    pub(crate) fn standby(&self) -> Self {
        let data_dir = DataDir::claim(Some(&data_dir_for_a_test())).unwrap();
        let binaries = Binaries::find(&data_dir).unwrap();
        in_own_runtime(async || self.copy_to(&data_dir).await);
        let configuration = format!(
            "max_standby_streaming_delay = 0\nprimary_conninfo = 'host={} user=postgres'\n",
            self.socket_folder().display()
        );
        OpenOptions::new()
            .append(true)
            .open(data_dir.cluster().join("postgresql.conf"))
            .and_then(|mut file| file.write_all(configuration.as_bytes()))
            .unwrap();
        let folder = data_dir.path().to_owned();
        let server = Mutex::new(Some(data_dir.start(&binaries).unwrap()));
        Self {
            folder,
            programs: self.programs.clone(),
            server,
        }
    }

    /// Copies the files of the running server (PostgreSQL manual, "Making a Base Backup Using the Low Level API"),
    /// as not all packages of servers contain `pg_basebackup`.
    async fn copy_to(&self, data_dir: &DataDir) {
        let mut connection = self.connect("postgres").await;
        let (start, stop) = match connection.server_version_num() {
            Some(..150_000) => (
                "pg_start_backup('standby', true, false)",
                "pg_stop_backup(false, false)",
            ),
            _ => ("pg_backup_start('standby', true)", "pg_backup_stop(false)"),
        };
        sqlx::query(sql(&format!("SELECT {start}::text")))
            .execute(&mut connection)
            .await
            .unwrap();
        let run = |script: &str, argument: &OsStr| {
            let mut shell = command_as_owner(data_dir.path(), "sh");
            assert!(
                shell
                    .args(["-c", script])
                    .arg(argument)
                    .status()
                    .unwrap()
                    .success()
            );
        };
        run(
            r#"cp -a "$0" cluster && rm cluster/postmaster.pid"#,
            self.socket_folder().as_os_str(),
        );
        let stopped = sqlx::query(sql(&format!("SELECT labelfile FROM {stop}")))
            .fetch_one(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        let label: String = stopped.get(0);
        run(
            r#"printf %s "$0" >cluster/backup_label && touch cluster/standby.signal"#,
            label.as_ref(),
        );
    }
}
