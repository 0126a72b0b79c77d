//! A proxy that makes PostgreSQL as far away as over a network: each message takes half of the round-trip time.
//!
//! It uses threads and `nanosleep`, because the timer of an asynchronous runtime has a resolution of 1 ms.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// Starts a proxy in front of the server whose socket is `socket`. Returns its port.
pub fn start(socket: PathBuf, round_trip: Duration) -> std::io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = UnixStream::connect(&socket) else {
                continue;
            };
            let _ = client.set_nodelay(true);
            let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else {
                continue;
            };
            std::thread::spawn(move || {
                forward(from_client, to_server, round_trip / 2, |server| {
                    let _ = server.shutdown(Shutdown::Both);
                })
            });
            std::thread::spawn(move || {
                forward(server, client, round_trip / 2, |client: &TcpStream| {
                    let _ = client.shutdown(Shutdown::Both);
                })
            });
        }
    });
    Ok(port)
}

fn forward<W: Write>(mut from: impl Read, mut to: W, delay: Duration, close: impl Fn(&W)) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        std::thread::sleep(delay);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    close(&to);
}

/// Parses a duration such as `500us` or `2ms`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let parse = |digits: &str| {
        digits
            .parse()
            .map_err(|_| format!("{text} is not a duration such as 500us"))
    };
    match (text.strip_suffix("us"), text.strip_suffix("ms")) {
        (Some(microseconds), _) => parse(microseconds).map(Duration::from_micros),
        (_, Some(milliseconds)) => parse(milliseconds).map(Duration::from_millis),
        _ => Err(format!("{text} is not a duration such as 500us")),
    }
}
