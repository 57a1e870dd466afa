//! The examples do what their first lines and the README say.

mod support;

use std::env;
use std::fs::File;
use std::net::SocketAddr;
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use support::{App, Connection, Mark, PATIENCE, example, get, status};

#[tokio::test]
async fn hello_says_world() {
    let app = serve_hello();
    let response = get(app.address().await, "/hello").await;
    assert_eq!((response.status, response.text().as_str()), (200, "WORLD!"));
    assert_eq!(get(app.address().await, "/").await.status, 404);
    app.stop().await;
}

#[tokio::test]
async fn hello_begins_with_address_and_pid_and_how_to_restart_and_stop() {
    let app = serve_hello();
    let pid = app.first_pid().to_string();
    app.wait_for(Mark::START, |line| line.text.starts_with("stop:"), PATIENCE).await;
    let lines = app.lines();
    assert_eq!(lines[0].message(), Some("listening"), "{}", lines[0]);
    assert_eq!(lines[0].field("address"), Some(app.address().await.to_string().as_str()));
    assert_eq!(lines[0].field("pid"), Some(pid.as_str()));
    let says = |text: String| lines.iter().any(|line| line.text == text);
    assert!(
        says(format!("restart: kill -HUP {pid}")) && says(format!("stop:    kill -TERM {pid}")),
        "{lines:?}"
    );
    app.stop().await;
}

#[tokio::test]
async fn hello_restarts_and_stops_as_it_says() {
    let app = serve_hello();
    let address = app.address().await;
    let first = advised(&app, "restart: kill -HUP ", Mark::START).await;
    assert_eq!(advised(&app, "stop:    kill -TERM ", Mark::START).await, first);
    let mark = app.mark();
    app.signal(first, Signal::SIGHUP);
    app.wait_for_message(mark, "handed over").await;
    assert_eq!(get(address, "/hello").await.text(), "WORLD!");
    assert_eq!(app.exit(first).await.code(), Some(0));

    let second = advised(&app, "stop:    kill -TERM ", mark).await;
    assert_ne!(second, first);
    app.signal(second, Signal::SIGTERM);
    assert_eq!(app.exit(second).await.code(), Some(0));
    app.ended().await;
}

#[tokio::test]
async fn multi_port_serves_restarts_and_stops_both() {
    let _lock = alone();
    let app = App::start(Command::new(example("multi_port")));
    assert_eq!(sorted(app.addresses(2).await), ["127.0.0.1:4242", "127.0.0.1:4243"]);
    app.wait_for_message(Mark::START, "serving").await;
    let first = app.first_pid();
    both_are_served_by(first).await;

    let second = app.restart().await;
    both_are_served_by(second).await;
    assert_eq!(app.exit(first).await.code(), Some(0));

    let mark = app.mark();
    assert_eq!(app.stop().await.code(), Some(0));
    let cleans_up = "everything in flight is finished: clean up here";
    app.wait_for(mark, |line| line.text == cleans_up, PATIENCE).await;
    for port in [4242, 4243] {
        let refused = Connection::open(SocketAddr::from(([127, 0, 0, 1], port))).await;
        assert!(refused.is_err(), "nobody listens on {port} any more");
    }
}

/// Its ports are fixed as the seed's, so two runs of this test wait for each other.
fn alone() -> Flock<File> {
    let file = File::create(env::temp_dir().join("endless-multi-port.lock")).expect("a temporary file");
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error).expect("the lock can be taken")
}

async fn both_are_served_by(pid: u32) {
    let hello = get(SocketAddr::from(([127, 0, 0, 1], 4242)), "/hello").await;
    assert_eq!((hello.status, hello.text().as_str()), (200, "WORLD!"));
    let status = status(SocketAddr::from(([127, 0, 0, 1], 4243))).await;
    assert_eq!(status["pid"], pid, "{status}");
    let servers = status["servers"].as_array().expect("a list of servers");
    let hellos = servers.iter().find(|server| server["address"] == "127.0.0.1:4242").expect("it is listed");
    assert_eq!(hellos["requests"], 1, "the same process has answered on both ports: {status}");
}

fn serve_hello() -> App {
    let mut command = Command::new(example("hello"));
    command.env("ENDLESS_LISTEN", "127.0.0.1:0");
    App::start(command)
}

/// The PID in the first line after `mark` that begins with `advice`.
async fn advised(app: &App, advice: &str, mark: Mark) -> u32 {
    let line = app.wait_for(mark, |line| line.text.starts_with(advice), PATIENCE).await;
    line.text[advice.len()..].parse().unwrap_or_else(|_| panic!("no PID in {line}"))
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}
