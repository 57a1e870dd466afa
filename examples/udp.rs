//! An HTTP service with a UDP service beside it, whose socket lives through restarts, and what waits in its
//! queue too.
//!
//! ```text
//! cargo run --example udp                      # the first lines say the PID
//! echo hello | nc -u -w1 localhost 4244        # the PID that answers, how many it has answered, and hello
//! kill -HUP PID
//! ```

use std::error::Error;
use std::net::UdpSocket;

use axum::{Router, routing::get};
use tokio::sync::Notify;

static SERVING: Notify = Notify::const_new();

#[endless::main(listen = "127.0.0.1:4242")]
async fn main() -> Result<Router, Box<dyn Error + Send + Sync>> {
    let inherited = endless::inherited("udp").map(UdpSocket::from);
    let socket = inherited.map_or_else(|| UdpSocket::bind("127.0.0.1:4244"), Ok)?;
    endless::bequeath("udp", socket.try_clone()?)?;
    tokio::spawn(answer(socket));
    Ok(Router::new().route("/hello", get(|| async { "WORLD!" })))
}

/// All generations read from one queue: each one while it serves, so that a successor that then fails has taken
/// nothing out of it.
#[endless::hook(ready)]
fn begin() {
    SERVING.notify_one();
}

async fn answer(socket: UdpSocket) -> std::io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    SERVING.notified().await;
    let (mut datagram, mut answered) = ([0; 1500], 0);
    loop {
        let (length, client) = tokio::select! {
            biased;
            () = endless::draining() => return Ok(()),
            // What went wrong with an earlier answer is told here, and ends nothing.
            received = socket.recv_from(&mut datagram) => match received {
                Ok(received) => received,
                Err(_) => continue,
            },
        };
        answered += 1;
        let text = String::from_utf8_lossy(&datagram[..length]);
        let answer = format!("{} {answered} {text}", std::process::id());
        socket.send_to(answer.as_bytes(), client).await.ok();
    }
}
