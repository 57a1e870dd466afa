//! The tests' program that is put together in code: `configure`, `Server` and hooks without an attribute.
//!
//! Its words are `new=ADDRESS`, `std=ADDRESS` and `tokio=ADDRESS`, one a server; `hooks=config` or
//! `hooks=server`; and
//! `max_connections=N`, `backlog=N`, `connect_info`, `max_header_bytes=N` and `read_timeout=MILLISECONDS` with its
//! like for every server. A plan of such words overrules them.

mod routes;

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use endless::{Config, Event, HttpService, Phase, Server, Signal};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    routes::follow_plan()?;
    let words = Words::all();
    if words.find("hooks") == Some("config") {
        endless::configure(hooked(Config::new()))?;
    }
    let mut servers = Vec::new();
    for (kind, address) in words.servers() {
        servers.push(words.apply_to(server(kind, address)?));
    }
    // All are registered before the first is bound, so that none is ready without the others.
    let registered: Vec<_> = servers.into_iter().map(Server::serve).collect();
    let mut servings: JoinSet<_> = registered.into_iter().collect();
    servings.spawn(serve_too_late());
    while let Some(ended) = servings.join_next().await {
        ended??;
    }
    say(&format!("returned pid={}", std::process::id()));
    Ok(())
}

fn server(kind: &str, address: &str) -> std::io::Result<Server<impl HttpService>> {
    let service = routes::failing_at_error(routes::routes().merge(of_this_program()));
    Ok(match kind {
        "std" => Server::from_listener(listener(address)?, service),
        "tokio" => Server::from_listener(tokio::net::TcpListener::from_std(listener(address)?)?, service),
        _ => Server::new(address, service),
    })
}

/// Shares its port with whoever else asks to, as two generations do that each bind for themselves. It does
/// not listen yet: connections that came to it would be lost when the inherited one takes its place.
fn listener(address: &str) -> std::io::Result<std::net::TcpListener> {
    let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket.as_fd().try_clone_to_owned()?.into())
}

fn of_this_program() -> Router {
    Router::new().route("/configure", get(configure))
}

/// What `configure` says to somebody who comes too late.
async fn configure() -> String {
    match endless::configure(Config::new()) {
        Ok(()) => "configured".to_owned(),
        Err(error) => format!("configuration={} {error}", error.is_configuration()),
    }
}

async fn serve_too_late() -> endless::Result<()> {
    endless::draining().await;
    let ended = endless::serve("127.0.0.1:0", Router::new()).await;
    say(&format!("late server ended ok={}", ended.is_ok()));
    ended
}

/// What the command line and the plan say, the plan first.
struct Words([Vec<String>; 2]);

impl Words {
    fn all() -> Self {
        let planned = routes::plan().split_whitespace().map(str::to_owned).collect();
        Self([planned, std::env::args().skip(1).collect()])
    }

    fn find(&self, name: &str) -> Option<&str> {
        let mut all = self.0.iter().flat_map(|words| pairs(words));
        all.find(|(word, _)| *word == name).map(|(_, value)| value)
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.find(name).map(|value| value.parse().expect("a number"))
    }

    /// All the plan's, or all the command line's.
    fn servers(&self) -> Vec<(&str, &str)> {
        let is_server = |(kind, _): &(&str, &str)| ["new", "std", "tokio"].contains(kind);
        let mut servers = self.0.iter().map(|words| pairs(words).filter(is_server).collect::<Vec<_>>());
        servers.find(|servers| !servers.is_empty()).unwrap_or_default()
    }

    fn apply_to<S: HttpService>(&self, server: Server<S>) -> Server<S> {
        let mut server = server.before_begin(|address| {
            say(&format!("before begin address={address} requested={}", address.requested()));
        });
        if let Some(most) = self.number("max_connections") {
            server = server.max_connections(most as usize);
        }
        if let Some(backlog) = self.number("backlog") {
            server = server.backlog(backlog);
        }
        if self.find("connect_info").is_some() {
            server = server.connect_info(true);
        }
        server = self.limit(server);
        if self.find("hooks") == Some("server") { hooked(server) } else { server }
    }

    fn limit<S: HttpService>(&self, mut server: Server<S>) -> Server<S> {
        if let Some(number) = self.number("read_timeout") {
            server = server.read_timeout(time(number));
        }
        if let Some(number) = self.number("write_timeout") {
            server = server.write_timeout(time(number));
        }
        if let Some(number) = self.number("header_timeout") {
            server = server.header_timeout(time(number));
        }
        if let Some(number) = self.number("idle_timeout") {
            server = server.idle_timeout(time(number));
        }
        if let Some(most) = self.number("max_header_bytes") {
            server = server.max_header_bytes(most as usize);
        }
        server
    }
}

/// In milliseconds; 0 is never.
fn time(number: u32) -> Option<Duration> {
    (number > 0).then(|| Duration::from_millis(number.into()))
}

fn pairs(words: &[String]) -> impl Iterator<Item = (&str, &str)> {
    words.iter().map(|word| word.split_once('=').unwrap_or((word, "")))
}

/// What hooks can be given to.
trait Hooked: Sized {
    fn with<Shape>(self, phase: Phase, signal: Signal, hook: impl endless::Hook<Shape>) -> Self;
}

impl Hooked for Config {
    fn with<Shape>(self, phase: Phase, signal: Signal, hook: impl endless::Hook<Shape>) -> Self {
        self.hook(phase, signal, hook)
    }
}

impl<S: HttpService> Hooked for Server<S> {
    fn with<Shape>(self, phase: Phase, signal: Signal, hook: impl endless::Hook<Shape>) -> Self {
        self.hook(phase, signal, hook)
    }
}

/// One hook of each shape around a signal that nobody declared, and one that may call a restart off.
fn hooked<T: Hooked>(target: T) -> T {
    let plain = || ran("plain", "");
    let of_event = |event: &Event| ran("of_event", &about(event));
    let later = || async { ran("async", "") };
    target
        .with(Phase::Pre, Signal::WindowChange, plain)
        .with(Phase::Pre, Signal::WindowChange, of_event)
        .with(Phase::Post, Signal::WindowChange, later)
        .with(Phase::Post, Signal::WindowChange, later_of_event)
        .with(Phase::Pre, Signal::Hangup, allow)
}

async fn later_of_event(event: &Event) {
    tokio::task::yield_now().await;
    ran("async_of_event", &about(event));
}

async fn allow(_event: &Event) -> Result<(), &'static str> {
    match routes::plan().as_str() {
        "refuse" => Err("as planned"),
        _ => Ok(()),
    }
}

fn about(event: &Event) -> String {
    let signal = event.signal().map(|signal| signal.to_string()).unwrap_or_default();
    let sender = event.sender().map_or(0, |sender| sender.pid);
    format!(" signal={signal} sender={sender} generation={}", event.generation())
}

fn ran(shape: &str, about: &str) {
    say(&format!("hook shape={shape} pid={}{about}", std::process::id()));
}

/// In one write, as other lines come to the same stderr meanwhile: `eprintln!` makes a write of each piece.
fn say(text: &str) {
    let written = std::io::stderr().write_all(format!("INFO app: {text}\n").as_bytes());
    written.expect("somebody reads");
}
