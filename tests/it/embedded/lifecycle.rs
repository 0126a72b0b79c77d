//! Start and stop of the server, which never outlives the service.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::Connection;

#[cfg(target_os = "linux")]
use super::{assert_all_processes_end, processes};
use crate::support::{ServiceProcess, client, data_dir_for_a_test};

async fn total_due(url: &str) -> String {
    let page = client::get(format!("{url}/users/1/orders")).await.unwrap().ok();
    page["total_due"].as_str().unwrap().to_owned()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn server_starts_again_after_every_kind_of_exit() {
    let data_dir = data_dir_for_a_test();
    // The first run creates the cluster.
    let mut service = ServiceProcess::embedded(&data_dir);
    let url = service.url();
    assert_eq!(total_due(&url).await, "60000.00");
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
    assert_eq!(processes(&data_dir), [0; 0], "shutdown waits for PostgreSQL");
    assert!(service.read_to_end().contains("creating a database cluster"));

    // The second run uses it.
    let mut service = ServiceProcess::embedded(&data_dir);
    assert_eq!(total_due(&service.url()).await, "60000.00");
    assert_eq!(service.stop(Signal::SIGINT).code(), Some(0));
    assert_eq!(processes(&data_dir), [0; 0]);
    assert!(!service.read_to_end().contains("creating a database cluster"));

    // If the service is killed, PostgreSQL stops, and the next run can start at once.
    let mut service = ServiceProcess::embedded(&data_dir);
    service.url();
    service.stop(Signal::SIGKILL);
    let mut service = ServiceProcess::embedded(&data_dir);
    assert_eq!(total_due(&service.url()).await, "60000.00");
    service.stop(Signal::SIGKILL);
    assert_all_processes_end(&data_dir);

    // If the supervisor is killed too, the next run stops PostgreSQL.
    let mut service = ServiceProcess::embedded(&data_dir);
    service.url();
    let postmaster: i32 = std::fs::read_to_string(data_dir.join("cluster/postmaster.pid"))
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    for pid in processes(&data_dir) {
        if pid != postmaster {
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        }
    }
    service.stop(Signal::SIGKILL);
    assert!(
        processes(&data_dir).contains(&postmaster),
        "PostgreSQL outlives both"
    );
    let mut service = ServiceProcess::embedded(&data_dir);
    assert_eq!(total_due(&service.url()).await, "60000.00");
    assert!(!processes(&data_dir).contains(&postmaster));

    // If all processes are killed, as by a power failure, a stale pid file remains.
    for pid in processes(&data_dir) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    service.stop(Signal::SIGKILL);
    assert_all_processes_end(&data_dir);
    assert!(data_dir.join("cluster/postmaster.pid").exists());
    let mut service = ServiceProcess::embedded(&data_dir);
    assert_eq!(total_due(&service.url()).await, "60000.00");
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
    assert_eq!(processes(&data_dir), [0; 0]);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn signal_during_startup_leaves_no_process() {
    let data_dir = data_dir_for_a_test();
    for (delay, signal) in [
        (0, Signal::SIGTERM),
        (300, Signal::SIGINT),
        (0, Signal::SIGKILL),
        (200, Signal::SIGKILL),
        (600, Signal::SIGTERM),
        (900, Signal::SIGKILL),
    ] {
        let mut service = ServiceProcess::embedded(&data_dir);
        service.line_with("using an embedded PostgreSQL");
        tokio::time::sleep(Duration::from_millis(delay)).await;
        let status = service.stop(signal);
        if signal != Signal::SIGKILL {
            assert_eq!(status.code(), Some(0));
            assert_eq!(processes(&data_dir), [0; 0]);
        }
        assert_all_processes_end(&data_dir);
    }
    let mut service = ServiceProcess::embedded(&data_dir);
    assert_eq!(total_due(&service.url()).await, "60000.00");
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn shutdown_stops_postgresql_without_its_supervisor() {
    let data_dir = data_dir_for_a_test();
    let mut service = ServiceProcess::embedded(&data_dir);
    service.url();
    let postmaster = std::fs::read_to_string(data_dir.join("cluster/postmaster.pid")).unwrap();
    let postmaster = postmaster.lines().next().unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        for pid in processes(&data_dir) {
            if pid.to_string() != postmaster {
                kill(Pid::from_raw(pid), signal).unwrap();
            }
        }
    }
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
    assert_all_processes_end(&data_dir);
}

/// The process id in a stale pid file can belong to another process by now.
#[tokio::test(flavor = "multi_thread")]
async fn process_with_a_reused_pid_is_not_killed() {
    let data_dir = data_dir_for_a_test();
    let mut service = ServiceProcess::embedded(&data_dir);
    service.url();
    let pid_file = data_dir.join("cluster/postmaster.pid");
    let stale = std::fs::read_to_string(&pid_file).unwrap();
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));

    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&data_dir).unwrap());
    let mut unrelated =
        std::os::unix::process::CommandExt::uid(&mut std::process::Command::new("sleep"), owner)
            .arg("60")
            .spawn()
            .unwrap();
    let (_, rest) = stale.split_once('\n').unwrap();
    std::fs::write(&pid_file, format!("{}\n{rest}", unrelated.id())).unwrap();
    std::os::unix::fs::chown(&pid_file, Some(owner), None).unwrap();

    let mut service = ServiceProcess::embedded(&data_dir);
    assert_eq!(total_due(&service.url()).await, "60000.00");
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
    assert!(
        unrelated.try_wait().unwrap().is_none(),
        "the unrelated process was killed"
    );
    unrelated.kill().unwrap();
    unrelated.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_demo_data_does_not_prevent_startup() {
    let data_dir = data_dir_for_a_test();
    let mut service = ServiceProcess::embedded(&data_dir);
    service.url();
    let socket = data_dir.join("cluster");
    let changes = "CREATE SCHEMA old; CREATE TABLE old.items (); CREATE TABLE old.orders ();
                   INSERT INTO public.users (id, organization_id) VALUES ('x', 'old');
                   DROP TABLE client2.orders; DELETE FROM client1.orders WHERE id = '2'";
    let url = format!(
        "postgres:///postgres?host={}&port=5432&user=postgres",
        socket.display()
    );
    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(changes).execute(&mut connection).await.unwrap();
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
    let mut service = ServiceProcess::embedded(&data_dir);
    assert_eq!(
        total_due(&service.url()).await,
        "50000.00",
        "deleted rows are not created again"
    );
}
