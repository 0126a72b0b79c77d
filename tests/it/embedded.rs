//! The program on a bare machine: a PostgreSQL of its own, which never outlives it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::Connection;

use crate::support::client;
use crate::support::{ServiceProcess, data_dir_for_a_test, finished};

async fn total_due(url: &str) -> String {
    let page = client::get(format!("{url}/users/1/orders")).await.unwrap().ok();
    page["total_due"].as_str().unwrap().to_owned()
}

/// Processes whose command line names the folder: the server and what watches over it.
#[cfg(target_os = "linux")]
fn processes(data_dir: &Path) -> Vec<i32> {
    let named = data_dir.join("cluster");
    let named = named.to_str().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let pid = path.file_name()?.to_str()?.parse().ok()?;
            let command = std::fs::read(path.join("cmdline")).ok()?;
            String::from_utf8_lossy(&command).contains(named).then_some(pid)
        })
        .collect()
}

#[cfg(target_os = "linux")]
fn assert_all_processes_end(data_dir: &Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !processes(data_dir).is_empty() {
        assert!(Instant::now() < deadline, "PostgreSQL is left over");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn it_starts_serves_and_stops_again_and_again_however_it_ended() {
    let data_dir = data_dir_for_a_test();
    // The first run makes the cluster.
    let mut service = ServiceProcess::embedded(&data_dir);
    let url = service.url();
    assert_eq!(total_due(&url).await, "60000.00");
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
    assert_eq!(processes(&data_dir), [0; 0], "a stop waits for PostgreSQL");
    assert!(service.all_it_told().contains("making a database cluster"));

    // The second finds it.
    let mut service = ServiceProcess::embedded(&data_dir);
    assert_eq!(total_due(&service.url()).await, "60000.00");
    assert_eq!(service.stop(Signal::SIGINT).code(), Some(0));
    assert_eq!(processes(&data_dir), [0; 0]);
    assert!(!service.all_it_told().contains("making a database cluster"));

    // Killed, it takes PostgreSQL along; and the next run may come at once.
    let mut service = ServiceProcess::embedded(&data_dir);
    service.url();
    service.stop(Signal::SIGKILL);
    let mut service = ServiceProcess::embedded(&data_dir);
    assert_eq!(total_due(&service.url()).await, "60000.00");
    service.stop(Signal::SIGKILL);
    assert_all_processes_end(&data_dir);

    // Killed together with what watches over PostgreSQL, it leaves that to the next run.
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

    // All of it killed, as by a power cut: a stale pid file.
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
async fn a_signal_while_it_starts_leaves_nothing_behind() {
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
async fn a_stop_stops_postgresql_though_its_supervisor_was_killed() {
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

/// The process id in a stale pid file may be somebody else's by now.
#[tokio::test(flavor = "multi_thread")]
async fn an_innocent_process_is_not_taken_for_postgresql() {
    let data_dir = data_dir_for_a_test();
    let mut service = ServiceProcess::embedded(&data_dir);
    service.url();
    let pid_file = data_dir.join("cluster/postmaster.pid");
    let stale = std::fs::read_to_string(&pid_file).unwrap();
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));

    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&data_dir).unwrap());
    let mut innocent =
        std::os::unix::process::CommandExt::uid(&mut std::process::Command::new("sleep"), owner)
            .arg("60")
            .spawn()
            .unwrap();
    let (_, rest) = stale.split_once('\n').unwrap();
    std::fs::write(&pid_file, format!("{}\n{rest}", innocent.id())).unwrap();
    std::os::unix::fs::chown(&pid_file, Some(owner), None).unwrap();

    let mut service = ServiceProcess::embedded(&data_dir);
    assert_eq!(total_due(&service.url()).await, "60000.00");
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
    assert!(innocent.try_wait().unwrap().is_none(), "it was killed");
    innocent.kill().unwrap();
    innocent.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_do_to_its_database_does_not_keep_it_from_starting() {
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
        "what was deleted does not come back"
    );
}

#[test]
fn a_folder_below_folders_that_are_not_there_is_made() {
    let data_dir = data_dir_for_a_test().join("below/further/below");
    let (status, _, errors) = finished(
        ServiceProcess::command()
            .args(["seed", "demo"])
            .env("DATA_DIR", &data_dir),
    );
    assert_eq!(status, Some(0), "{errors}");
}

#[test]
fn a_folder_in_use_is_refused_and_its_user_named() {
    let data_dir = data_dir_for_a_test();
    let mut first = ServiceProcess::embedded(&data_dir);
    let url = first.url();
    for arguments in [vec![], vec!["migrate"], vec!["seed", "demo"]] {
        let (status, _, errors) = finished(
            ServiceProcess::command()
                .args(&arguments)
                .env("DATA_DIR", &data_dir),
        );
        assert_eq!(status, Some(1));
        assert!(
            errors.contains("is in use by another tenant-orders (process "),
            "{errors}"
        );
    }
    assert!(
        std::net::TcpStream::connect(url.strip_prefix("http://").unwrap()).is_ok(),
        "the first goes on"
    );
    assert_eq!(first.stop(Signal::SIGTERM).code(), Some(0));
}

#[test]
fn commands_work_on_the_embedded_database_too() {
    let data_dir = data_dir_for_a_test();
    let run = |arguments: &[&str]| {
        finished(
            ServiceProcess::command()
                .args(arguments)
                .env("DATA_DIR", &data_dir),
        )
    };
    let (status, _, errors) = run(&[
        "seed",
        "bulk",
        "--tenants",
        "2",
        "--users",
        "2",
        "--items",
        "2",
        "--orders",
        "2",
    ]);
    assert_eq!(status, Some(0), "{errors}");
    let (status, output, errors) = run(&["migrate"]);
    assert_eq!(status, Some(0), "{errors}");
    assert_eq!(output, "2 tenants up to date\n");
    #[cfg(target_os = "linux")]
    assert_eq!(processes(&data_dir), [0; 0]);
}

#[test]
fn where_no_binaries_can_be_had_it_says_what_to_install() {
    let data_dir = data_dir_for_a_test();
    // A cluster of a version that nobody has installed, and no network.
    std::fs::create_dir_all(data_dir.join("cluster")).unwrap();
    std::fs::write(data_dir.join("cluster/PG_VERSION"), "7\n").unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&data_dir, Some(65534), None).unwrap();
        std::fs::set_permissions(&data_dir, PermissionsExt::from_mode(0o777)).unwrap();
    }
    let (status, _, errors) = finished(
        ServiceProcess::command()
            .env("DATA_DIR", &data_dir)
            .env("HTTPS_PROXY", "http://127.0.0.1:1"),
    );
    assert_eq!(status, Some(1));
    for told in [
        "no PostgreSQL 7 server programs",
        "apt install postgresql",
        "dnf install",
        "brew install",
        "DATABASE_URL",
    ] {
        assert!(errors.contains(told), "{told}: {errors}");
    }
}

#[test]
fn a_folder_whose_socket_would_have_too_long_a_path_is_refused() {
    let data_dir = std::env::temp_dir().join("x".repeat(100));
    let (status, _, errors) = finished(ServiceProcess::command().env("DATA_DIR", &data_dir));
    assert_eq!(status, Some(1));
    assert!(errors.contains("set DATA_DIR to a shorter one"), "{errors}");
    assert!(!data_dir.exists());
}

#[test]
fn root_is_told_of_a_folder_that_the_unprivileged_user_cannot_reach() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let private = tempfile::tempdir().unwrap();
    std::fs::set_permissions(private.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let (status, _, errors) =
        finished(ServiceProcess::command().env("DATA_DIR", private.path().join("data")));
    assert_eq!(status, Some(1));
    assert!(
        errors.contains("refuses to run as root") && errors.contains("cannot write to"),
        "{errors}"
    );
}
