//! A UDP service that answers each datagram with `PID COUNT DATAGRAM`, on a socket that goes from generation to
//! generation.

use std::fs::File;
use std::io;
use std::net::UdpSocket;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::Semaphore;

use crate::routes;

/// Opened when this generation serves: before that it must take nothing out of the queue.
static SERVING: Semaphore = Semaphore::const_new(0);

/// Serves on the address of the command line. Beside what other programs do: a plan of `leave` takes nothing,
/// and one of `fail` takes everything, bequeaths it and fails then.
pub(crate) async fn serve() -> Result<(), String> {
    routes::follow_plan()?;
    let plan = routes::plan();
    routes::say(format!("INFO app: asking pid={}", std::process::id()));
    let socket = inherit(plan != "leave").map_err(|error| error.to_string())?;
    hand_many_on()?;
    if plan == "fail" {
        return Err("as planned".to_owned());
    }
    tokio::spawn(answer(socket));
    let address = std::env::args().nth(1).expect("an address");
    let service = routes::failing_at_error(routes::routes().merge(more_routes()));
    endless::serve(address, service).await.map_err(|error| error.to_string())
}

#[endless::hook(ready)]
fn begin() {
    SERVING.close();
}

fn inherit(takes: bool) -> io::Result<UdpSocket> {
    let inherited = if takes { endless::inherited("udp") } else { None };
    let is_inherited = inherited.is_some();
    let socket = inherited.map(UdpSocket::from).map_or_else(|| UdpSocket::bind("127.0.0.1:0"), Ok)?;
    let again = takes && endless::inherited("udp").is_some();
    let (pid, address) = (std::process::id(), socket.local_addr()?);
    routes::say(format!("INFO app: udp address={address} inherited={is_inherited} again={again} pid={pid}"));
    endless::bequeath("udp", socket.try_clone()?).map_err(io::Error::other)?;
    Ok(socket)
}

/// So many as `APP_MANY` says, beside the socket.
fn hand_many_on() -> Result<(), String> {
    let Ok(count) = std::env::var("APP_MANY") else { return Ok(()) };
    let mut inherited = 0;
    for number in 0..count.parse().expect("a number") {
        let name = format!("file {number}");
        let descriptor = endless::inherited(&name);
        inherited += u32::from(descriptor.is_some());
        let descriptor = descriptor.unwrap_or_else(null);
        endless::bequeath(&name, descriptor).map_err(|error| error.to_string())?;
    }
    routes::say(format!("INFO app: many inherited={inherited} pid={}", std::process::id()));
    Ok(())
}

fn null() -> std::os::fd::OwnedFd {
    File::open("/dev/null").expect("a descriptor").into()
}

async fn answer(socket: UdpSocket) {
    socket.set_nonblocking(true).expect("a socket");
    let socket = tokio::net::UdpSocket::from_std(socket).expect("a runtime");
    SERVING.acquire().await.expect_err("it is closed when this process serves");
    let (mut datagram, mut count) = ([0; 100], 0);
    loop {
        let received = tokio::select! {
            biased;
            () = endless::draining() => return,
            received = socket.recv_from(&mut datagram) => received,
        };
        let (length, client) = received.expect("a datagram");
        count += 1;
        let text = String::from_utf8_lossy(&datagram[..length]);
        let answer = format!("{} {count} {text}", std::process::id());
        socket.send_to(answer.as_bytes(), client).await.expect("it is sent");
    }
}

fn more_routes() -> Router {
    Router::new()
        .route("/replace", get(replace))
        .route("/inherited", get(|| async { endless::inherited("udp").is_some().to_string() }))
        .route("/bequeath/{length}", get(bequeath))
        .route("/bequeath_at_the_limit", get(|| async { bequeath_at_the_limit() }))
}

/// Another socket by the same name; returns its address.
async fn replace() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("it is bound");
    endless::bequeath("udp", socket.try_clone().expect("a descriptor")).expect("it is bequeathed");
    tokio::spawn(answer(socket));
    address.to_string()
}

/// Under a name of this length.
async fn bequeath(Path(length): Path<usize>) -> String {
    said(endless::bequeath(&"a".repeat(length), null()))
}

/// While this process may not have a single descriptor more.
fn bequeath_at_the_limit() -> String {
    let descriptor = null();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, 4, hard).expect("it may be lowered");
    let result = endless::bequeath("udp", descriptor);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("and raised again");
    said(result)
}

fn said(result: endless::Result<()>) -> String {
    match result {
        Ok(()) => "bequeathed".to_owned(),
        Err(error) => format!("{error} (is_bequest: {})", error.is_bequest()),
    }
}
