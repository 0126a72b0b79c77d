//! Output that is not read or cannot be written.

use std::io::{ErrorKind, PipeReader, PipeWriter, Write};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::client::Connection;
use crate::support::{ServiceProcess, TestDatabase, block_until, client, free_port, wait_until};

/// Returns a pipe that accepts no more bytes.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let bytes = [b'x'; 4096];
    let error = loop {
        if let Err(error) = writer.write_all(&bytes) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (reader, writer)
}

fn spawn(command: &mut Command, stderr: PipeWriter) -> KilledOnDrop {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    KilledOnDrop(command.spawn().unwrap())
}

/// A process that is killed if its test fails.
struct KilledOnDrop(Child);

impl KilledOnDrop {
    fn signal(&self) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    }

    fn exit_status(&mut self) -> Option<i32> {
        block_until("the process has ended", || self.0.try_wait().unwrap().is_some());
        self.0.wait().unwrap().code()
    }
}

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn dropped_lines(metrics: &str) -> u64 {
    let mut lines = metrics.lines();
    let count = lines.find_map(|line| line.strip_prefix("tenant_orders_log_lines_dropped_total "));
    count.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_log_does_not_stop_the_service() {
    let database = TestDatabase::demo().await;
    let (_unread, stderr) = full_pipe();
    let port = free_port();
    let mut service = spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .env("PORT", port.to_string()),
        stderr,
    );
    let url = format!("http://127.0.0.1:{port}");
    wait_until("the service responds", async || {
        client::get(format!("{url}/livez")).await.is_ok()
    })
    .await;
    let mut connection = Connection::open(&url).await.unwrap();
    wait_until("log lines are dropped and counted", async || {
        let requests = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n".repeat(500); // pipelined, because it is faster
        connection.send(requests).await.unwrap();
        for _ in 0..500 {
            assert_eq!(connection.answer().await.unwrap().status, 200);
        }
        dropped_lines(&connection.get("/metrics").await.unwrap().text()) > 0
    })
    .await;
    let orders = connection.get("/users/1/orders").await.unwrap();
    assert_eq!(orders.ok()["total_due"], "60000.00");
    service.signal();
    assert_eq!(service.exit_status(), Some(0));
}

#[test]
fn unread_error_message_does_not_block_the_end() {
    let (_unread, stderr) = full_pipe();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut command = ServiceProcess::command();
    command
        .env("PORT", port)
        .env("DATABASE_URL", "postgres://user@127.0.0.1:1/nothing");
    assert_eq!(spawn(&mut command, stderr).exit_status(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn third_signal_ends_a_command_that_is_blocked() {
    let database = TestDatabase::empty().await;
    let (_unread, stderr) = full_pipe();
    let url = database.url();
    // The first line of `migrate`'s progress on stderr, or of `seed demo`'s result, blocks.
    let mut command = ServiceProcess::command();
    let mut process = spawn(command.args(["seed", "demo"]).env("DATABASE_URL", url), stderr);
    wait_until("the demo is created", async || {
        let created = "SELECT (to_regclass('client2.orders') IS NOT NULL)::text";
        database.text(created).await == "true"
    })
    .await;
    block_until("a signal ends the process", || {
        let ended = process.0.try_wait().unwrap().is_some();
        if !ended {
            process.signal();
        }
        ended
    });
    assert_eq!(process.exit_status(), Some(1));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn output_that_cannot_be_written_is_an_error() {
    let database = TestDatabase::demo().await;
    for arguments in [
        vec!["--help"],
        vec!["--version"],
        vec!["tenants", "--help"],
        vec!["completions", "bash"],
        vec!["token", "1"],
        vec!["migrate"],
        vec!["migrate", "--json"],
        vec!["tenants", "list"],
        vec!["tenants", "list", "--json"],
        vec!["tenants", "check", "--json"],
        vec!["tenants", "export", "client1"],
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = ServiceProcess::command()
            .args(&arguments)
            .env("DATABASE_URL", database.url())
            .env("JWT_SECRET", "0123456789abcdef0123456789abcdef")
            .stdin(Stdio::null())
            .stdout(full)
            .output()
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
        assert!(errors.contains("error: "), "{arguments:?}: {errors}");
        assert!(
            errors.contains("No space left on device"),
            "{arguments:?}: {errors}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_that_closes_the_pipe_is_no_error() {
    let database = TestDatabase::demo().await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = ServiceProcess::command();
    command
        .args(["tenants", "list"])
        .env("DATABASE_URL", database.url());
    let output = command.stdin(Stdio::null()).stdout(writer).output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// `nohup` starts a program with SIGHUP ignored.
#[cfg(target_os = "linux")]
#[test]
fn ignored_hangup_stays_ignored() {
    let program = ServiceProcess::command();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#"trap '' HUP; exec "$0""#])
        .arg(program.get_program())
        .env_clear()
        .envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("DATABASE_URL", "postgres://user@127.0.0.1:1/nothing");
    let mut service = ServiceProcess::spawn(&mut shell);
    let address = service.url().strip_prefix("http://").unwrap().to_owned();
    service.signal(Signal::SIGHUP);
    // The operating system delivers signals in order of their number: SIGHUP is handled before SIGTERM.
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(std::net::TcpStream::connect(address).is_ok());
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}
