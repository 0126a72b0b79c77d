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
            .env("PORT", port.to_string())
            // Many lines for each request, so that the queue is soon full.
            .env("RUST_LOG", "trace"),
        stderr,
    );
    let url = format!("http://127.0.0.1:{port}");
    wait_until("the service responds", async || {
        client::get(format!("{url}/livez")).await.is_ok()
    })
    .await;
    let mut connection = Connection::open(&url).await.unwrap();
    wait_until("log lines are dropped and counted", async || {
        for _ in 0..100 {
            let orders = connection.get("/users/1/orders").await.unwrap();
            assert_eq!(orders.ok()["total_due"], "60000.00");
        }
        dropped_lines(&connection.get("/metrics").await.unwrap().text()) > 0
    })
    .await;
    assert_eq!(connection.get("/livez").await.unwrap().status, 200);
    service.signal();
    assert_eq!(service.exit_status(), Some(0));
}

#[test]
fn unread_error_message_does_not_block_the_end() {
    let (_unread, stderr) = full_pipe();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut command = ServiceProcess::command();
    command.env("PORT", port).env("DATABASE_URL", "postgres://user@127.0.0.1:1/nothing");
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
