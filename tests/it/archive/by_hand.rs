//! Restoring an archive with tar and psql, as docs/archive.md describes.

use std::process::Command;

use super::{dump, export, forget};
use crate::support::{TestDatabase, shared_cluster};

#[tokio::test]
async fn documented_commands_restore_a_tenant_without_this_program() {
    let database = TestDatabase::demo().await;
    let before = dump(&database, "client1");
    let (_, file) = export(&database, "client1").await.unwrap();
    forget(&database, "client1").await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("client1.tar"), file).unwrap();

    let documentation = include_str!("../../../docs/archive.md");
    let (_, block) = documentation.split_once("<!-- by hand -->\n```sh\n").unwrap();
    let (commands, _) = block.split_once("```").unwrap();
    let psql = shared_cluster().program("psql");
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c"])
        .arg(format!(
            "PATH=\"{}:$PATH\"\n{commands}",
            psql.parent().unwrap().display()
        ))
        .current_dir(&folder)
        .env("PGHOST", shared_cluster().socket_folder())
        .env("PGUSER", "postgres")
        .env("PGDATABASE", database.name())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(dump(&database, "client1"), before);
}
