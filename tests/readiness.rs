//! When a process counts as ready: every server bound, every inherited listener claimed, nothing held.

mod support;

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{App, Client, Line, Mark, PATIENCE, Plan, example, get};

fn program(addresses: &[&str]) -> Command {
    let mut command = Command::new(example("test_imperative"));
    command.args(addresses);
    command
}

fn start(addresses: &[&str]) -> (App, Plan) {
    let mut command = program(addresses);
    let plan = Plan::of(&mut command);
    (App::start(command), plan)
}

/// Where `pid` listens, in the order in which its servers were registered.
async fn addresses(app: &App, port_of: SocketAddr) -> Vec<String> {
    app.wait_for_message(Mark::START, "serving").await;
    let status = support::status(port_of).await;
    let servers = status["servers"].as_array().expect("a list");
    servers.iter().map(|server| server["address"].as_str().expect("text").to_owned()).collect()
}

async fn answering_pid(address: &str) -> u32 {
    let answer = get(address.parse().expect("an address"), "/hello").await;
    assert_eq!(answer.text(), "WORLD!");
    answer.header("x-pid").and_then(|pid| pid.parse().ok()).expect("it names its process")
}

/// Somebody else's port, and its address.
fn taken() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    (listener, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_server_keeps_its_own_port() {
    let (app, _plan) = start(&["127.0.0.1:0", "127.0.0.1:0", "[::1]:0", "localhost:0"]);
    let first: SocketAddr = app.addresses(4).await[0].parse().expect("an address");
    let before = addresses(&app, first).await;
    assert_eq!(before.len(), 4);
    assert!(before[0].starts_with("127.0.0.1:") && before[1].starts_with("127.0.0.1:"), "{before:?}");
    assert!(before[2].starts_with("[::1]:"), "{before:?}");
    for _ in 0..support::restarts(3, 25) {
        let successor = app.restart().await;
        for address in &before {
            assert_eq!(answering_pid(address).await, successor);
        }
        assert_eq!(addresses(&app, before[1].parse().expect("an address")).await, before);
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_is_bound_by_the_successor() {
    let (app, plan) = start(&["127.0.0.1:0"]);
    let address = app.address().await;
    plan.set("also localhost:0");
    let mark = app.mark();
    let successor = app.restart().await;
    let both = addresses(&app, address).await;
    assert_eq!((both.len(), &both[0]), (2, &address.to_string()));
    for address in &both {
        assert_eq!(answering_pid(address).await, successor);
    }
    let told =
        |line: &Line| line.message() == Some("listening") && line.field("address") == Some(both[1].as_str());
    app.wait_for(mark, told, PATIENCE).await;
    app.stop().await;
}

/// Not before the 5 s are over; the warning names it and the way to keep it; it is closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_nobody_claims_counts_as_removed_after_a_while() {
    let (app, plan) = start(&["127.0.0.1:0", "localhost:0"]);
    let address = app.address().await;
    let both = addresses(&app, address).await;
    plan.set("only 1");
    let begun = Instant::now();
    let successor = app.restart().await;
    assert!(begun.elapsed() >= Duration::from_secs(5), "given up after {:?}", begun.elapsed());

    let warning = "inherited listener not claimed: it counts as removed";
    let line = app.wait_for_message(Mark::START, warning).await;
    assert_eq!(
        (line.field("address"), line.field("requested")),
        (Some(both[1].as_str()), Some("localhost:0"))
    );
    assert!(line.field("hint").is_some_and(|hint| hint.contains("hold_ready()")), "{line}");
    assert_eq!(answering_pid(&both[0]).await, successor);
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    let refused = std::net::TcpStream::connect(&both[1]).expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    app.stop().await;
}

/// The predecessor is stopped while connections come, so that it finds them in the queue when it has to let
/// go.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_the_queue_of_a_removed_listener_is_served_first() {
    let (app, plan) = start(&["127.0.0.1:0", "127.0.0.1:0"]);
    let both = app.addresses(2).await;
    app.wait_for_message(Mark::START, "serving").await;
    plan.set("only 1");
    let mark = app.mark();
    let first = app.first_pid();
    app.signal(first, Signal::SIGHUP);
    app.wait_for_message(mark, "listening").await;
    app.signal(first, Signal::SIGSTOP);

    // Which of the two stays, the order of their registration tells, which is not that of their lines.
    let mut waiting = Vec::new();
    for number in 0..400 {
        let address = both[number % 2].parse().expect("an address");
        let mut client = Client::connect(address).await;
        client.ask("/hello").await;
        waiting.push(client);
    }
    app.wait_for_message(mark, "inherited listener not claimed: it counts as removed").await;
    app.signal(first, Signal::SIGCONT);
    for client in &mut waiting {
        assert_eq!(client.answer().await.text(), "WORLD!");
    }
    app.wait_for_message(mark, "handed over").await;
    drop(waiting);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_holds_is_not_ready_until_it_says_so() {
    let (app, plan) = start(&["127.0.0.1:0", "127.0.0.1:0"]);
    let both = app.addresses(2).await;
    app.wait_for_message(Mark::START, "serving").await;
    plan.set("late");
    let mark = app.mark();
    app.signal(app.first_pid(), Signal::SIGHUP);
    app.wait_for_message(mark, "listening").await;
    // Longer than one that does not hold is waited for.
    let slow = get(both[0].parse().expect("an address"), "/sleep?ms=6000").await;
    assert_eq!(slow.header("x-pid"), Some(app.first_pid().to_string().as_str()));
    assert_eq!(answering_pid(&both[1]).await, app.first_pid());
    assert!(!app.lines().iter().any(|line| line.message() == Some("handed over")));

    plan.set("");
    let line = app.wait_for_message(mark, "handed over").await;
    for address in &both {
        assert_eq!(Some(answering_pid(address).await.to_string().as_str()), line.field("successor"));
    }
    let warned = |line: &Line| line.text.contains("not claimed");
    assert!(!app.lines().iter().any(warned));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_process_that_holds_accepts_when_it_says_so() {
    let mut command = program(&["127.0.0.1:0", "127.0.0.1:0"]);
    let plan = Plan::of(&mut command);
    plan.set("late");
    let app = App::start(command);
    let address = app.address().await;
    let mut early = Client::connect(address).await;
    early.ask("/hello").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(early.is_quiet());
    assert!(!app.lines().iter().any(|line| line.message() == Some("serving")));
    plan.set("");
    assert_eq!(early.answer().await.text(), "WORLD!");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_somebody_else_uses_ends_the_start() {
    let (_listener, address) = taken();
    let mut declarative = Command::new(example("test_declarative"));
    declarative.env("ENDLESS_LISTEN", format!("127.0.0.1:0,{address}"));
    for command in [declarative, program(&["127.0.0.1:0", &address])] {
        let app = App::start(command);
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(1));
        let words = format!("cannot bind {address}: address already in use");
        app.wait_for(Mark::START, |line| line.text.contains(&words), PATIENCE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attribute_prints_what_could_not_be_bound() {
    let (_listener, address) = taken();
    let mut command = Command::new(example("test_declarative"));
    command.env("ENDLESS_LISTEN", &address);
    let app = App::start(command);
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(1));
    let words = format!("error: cannot bind {address}: address already in use");
    app.wait_for(Mark::START, |line| line.text == words, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_cannot_bind_is_called_off_and_the_reason_known() {
    let (_listener, taken) = taken();
    let (app, plan) = start(&["127.0.0.1:0"]);
    let address = app.address().await;
    app.wait_for_message(Mark::START, "serving").await;
    plan.set(&format!("also {taken}"));
    let reason = app.try_restart().await.expect_err("the port is taken");
    assert!(reason.ends_with(&format!(": cannot bind {taken}: address already in use")), "{reason}");
    assert_eq!(answering_pid(&address.to_string()).await, app.first_pid());

    plan.set("");
    let successor = app.restart().await;
    assert_eq!(answering_pid(&address.to_string()).await, successor);
    app.stop().await;
}
