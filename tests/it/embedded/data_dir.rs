//! The data folder, and the server's programs.

use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;

#[cfg(target_os = "linux")]
use super::processes;
use crate::support::{ServiceProcess, data_dir_for_a_test, finished};

#[test]
fn data_dir_is_created_with_its_parents() {
    let data_dir = data_dir_for_a_test().join("below/further/below");
    let (status, _, errors) = finished(
        ServiceProcess::command()
            .args(["seed", "demo"])
            .env("DATA_DIR", &data_dir),
    );
    assert_eq!(status, Some(0), "{errors}");
}

#[test]
fn empty_data_dir_of_root_is_used() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let volume = tempfile::tempdir().unwrap();
    std::fs::set_permissions(volume.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir(volume.path().join("lost+found")).unwrap();
    let seed = || {
        let mut command = ServiceProcess::command();
        finished(command.args(["seed", "demo"]).env("DATA_DIR", volume.path()))
    };
    let (status, _, errors) = seed();
    assert_eq!(status, Some(0), "{errors}");
    // The second run finds a folder that is not empty and not root's.
    let (status, _, errors) = seed();
    assert_eq!(status, Some(0), "{errors}");
}

#[test]
fn data_dir_in_use_is_rejected_with_the_process_id() {
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
        "the first service is still running"
    );
    assert_eq!(first.stop(Signal::SIGTERM).code(), Some(0));
}

#[test]
fn commands_use_the_embedded_database() {
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
fn failed_download_prints_how_to_install_postgresql() {
    let data_dir = data_dir_for_a_test();
    // A cluster of a version that is not installed, and no network.
    std::fs::create_dir_all(data_dir.join("cluster")).unwrap();
    std::fs::write(data_dir.join("cluster/PG_VERSION"), "7\n").unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&data_dir, Some(65534), None).unwrap();
        std::fs::set_permissions(&data_dir, PermissionsExt::from_mode(0o777)).unwrap();
    }
    let download = |settings: &[(&str, &str)]| {
        let mut command = ServiceProcess::command();
        command.env("DATA_DIR", &data_dir).envs(settings.iter().copied());
        let (status, _, errors) = finished(&mut command);
        assert_eq!(status, Some(1), "{errors}");
        errors
    };
    let errors = download(&[("HTTPS_PROXY", "http://127.0.0.1:1")]);
    for expected in [
        "PostgreSQL 7 is not installed, and downloading it failed",
        "hint: install it",
        "apt install postgresql",
        "dnf install",
        "brew install",
        "DATABASE_URL",
        "Connection refused",
    ] {
        assert!(errors.contains(expected), "{expected}: {errors}");
    }
    let errors = download(&[("SSL_CERT_FILE", "/nowhere"), ("SSL_CERT_DIR", "/nowhere")]);
    assert!(!errors.contains("panicked"), "{errors}");
    assert!(errors.contains("certificate"), "{errors}");
}

#[test]
fn data_dir_with_too_long_a_path_is_rejected() {
    let data_dir = std::env::temp_dir().join("x".repeat(100));
    let (status, _, errors) = finished(ServiceProcess::command().env("DATA_DIR", &data_dir));
    assert_eq!(status, Some(1));
    assert!(errors.contains("set DATA_DIR to a shorter one"), "{errors}");
    assert!(!data_dir.exists());
}

#[test]
fn data_dir_unreachable_for_the_unprivileged_user_is_reported() {
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
