//! What is said in code, without an attribute: listeners that are bound already, hooks, and what comes too
//! late.

mod support;

use std::net::SocketAddr;
use std::process::Command;

use nix::sys::signal::Signal;
use support::{App, Client, Kind, Line, Load, Mark, PATIENCE, Plan, example, get, restarts, until_busy};
use tokio::net::TcpSocket;

fn program(words: &[&str]) -> Command {
    let mut command = Command::new(example("test_builder"));
    command.args(words);
    command
}

async fn start(command: Command) -> App {
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    app
}

async fn answering_pid(address: SocketAddr) -> u32 {
    let answer = get(address, "/hello").await;
    assert_eq!(answer.text(), "WORLD!");
    answer.header("x-pid").and_then(|pid| pid.parse().ok()).expect("it names its process")
}

/// A port that nobody else gets as long as this is held; the program shares it.
fn reserved() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("the system can share ports");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

// ---- listeners that are bound already

async fn a_given_listener_is_served_and_inherited(kind: &str) {
    let (_held, address) = reserved();
    let app = start(program(&[&format!("{kind}={address}")])).await;
    assert_eq!(app.addresses(1).await, [address.to_string()]);
    let load = Load::new(address, Kind::Fresh).connections(8).start();
    load.until_answered_by(app.first_pid()).await;
    for _ in 0..restarts(3, 25) {
        let before = app.serving_pid();
        let successor = app.restart().await;
        load.until_answered_by(successor).await;
        assert_eq!(app.exit(before).await.code(), Some(0));
        load.until_answered(16).await;
    }
    let report = load.stop().await;
    eprintln!("{report}");
    report.assert_clean();
    assert!(!app.lines().iter().any(|line| line.text.contains("not claimed")));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_std_listener_keeps_its_port_and_loses_nothing() {
    a_given_listener_is_served_and_inherited("std").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tokio_listener_keeps_its_port_and_loses_nothing() {
    a_given_listener_is_served_and_inherited("tokio").await;
}

/// By its address: the next build may leave the binding to endless.
#[tokio::test(flavor = "multi_thread")]
async fn a_given_listener_is_inherited_by_who_only_names_its_address() {
    let (held, address) = reserved();
    let mut command = program(&[&format!("std={address}")]);
    let plan = Plan::of(&mut command);
    let app = start(command).await;
    // Nobody else shares it, so that an attempt to bind it anew would fail.
    drop(held);
    plan.set(&format!("new={address}"));
    let successor = app.restart().await;
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    assert_eq!(answering_pid(address).await, successor);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_listener_is_served_beside_others() {
    let (_held, address) = reserved();
    let app = start(program(&["new=127.0.0.1:0", &format!("tokio={address}")])).await;
    let mut addresses = app.addresses(2).await;
    assert!(addresses.contains(&address.to_string()), "{addresses:?}");
    let successor = app.restart().await;
    for address in addresses.drain(..) {
        assert_eq!(answering_pid(address.parse().expect("an address")).await, successor);
    }
    app.stop().await;
}

// ---- hooks

fn is_of(line: &Line, name: &str, value: impl std::fmt::Display) -> bool {
    format!("{} ", line.text).contains(&format!(" {name}={value} "))
}

/// The lines that `pid`'s hooks have written after `mark`.
fn hooks_of(app: &App, mark: Mark, pid: u32) -> Vec<Line> {
    let lines = app.lines().into_iter().filter(|line| line.after() > mark);
    lines.filter(|line| line.text.contains("app: hook shape=") && is_of(line, "pid", pid)).collect()
}

/// SIGWINCH: all four shapes run, those before it before those after it, in the order in which they were
/// given.
async fn all_shapes_run(app: &App, generation: u64) {
    let (pid, mark) = (app.serving_pid(), app.mark());
    app.signal(pid, Signal::SIGWINCH);
    let last = |line: &Line| line.text.contains("shape=async_of_event ") && is_of(line, "pid", pid);
    app.wait_for(mark, last, PATIENCE).await;
    let lines = hooks_of(app, mark, pid);
    let shapes: Vec<_> = lines.iter().filter_map(|line| line.text.split(['=', ' ']).nth(4)).collect();
    assert_eq!(shapes, ["plain", "of_event", "async", "async_of_event"]);
    for line in [&lines[1], &lines[3]] {
        assert!(is_of(line, "signal", "SIGWINCH") && is_of(line, "generation", generation), "{line}");
        assert!(is_of(line, "sender", std::process::id()), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_of_every_shape_run_for_a_signal_that_nobody_declared() {
    for place in ["hooks=config", "hooks=server"] {
        let app = start(program(&["new=127.0.0.1:0", place])).await;
        for generation in 0..3 {
            all_shapes_run(&app, generation).await;
            let mark = app.mark();
            app.restart().await;
            app.wait_for_message(mark, "serving").await;
        }
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_hooks_the_signal_does_what_it_always_does() {
    let app = start(program(&["new=127.0.0.1:0"])).await;
    let address = app.address().await;
    app.signal(app.first_pid(), Signal::SIGWINCH);
    assert_eq!(answering_pid(address).await, app.first_pid());
    assert!(!app.lines().iter().any(|line| line.message() == Some("received")));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_in_code_calls_a_restart_off() {
    for place in ["hooks=config", "hooks=server"] {
        let mut command = program(&["new=127.0.0.1:0", place]);
        let plan = Plan::of(&mut command);
        let app = start(command).await;
        plan.set("refuse");
        let reason = app.try_restart().await.expect_err("refused");
        assert!(reason.starts_with("hook ") && reason.ends_with("::allow refused: as planned"), "{reason}");
        assert_eq!(answering_pid(app.address().await).await, app.first_pid());
        plan.set("");
        app.restart().await;
        app.stop().await;
    }
}

/// Each server's own closure, in each generation, with what is bound, and before anything is accepted.
#[tokio::test(flavor = "multi_thread")]
async fn before_begin_is_called_with_the_bound_address_before_serving() {
    let app = start(program(&["new=127.0.0.1:0", "new=localhost:0"])).await;
    let addresses = app.addresses(2).await;
    let mut mark = Mark::START;
    for generation in 0..2 {
        let lines = app.lines();
        let serving = lines.iter().rposition(|line| line.message() == Some("serving")).expect("it serves");
        let begun = lines[..serving]
            .iter()
            .filter(|line| line.after() > mark && line.text.contains("app: before begin "));
        let begun: Vec<_> = begun.map(|line| line.text.clone()).collect();
        assert_eq!(begun.len(), 2, "generation {generation}: {begun:?}");
        for address in &addresses {
            let told = begun.iter().filter(|text| text.contains(&format!(" address={address} ")));
            assert_eq!(told.count(), 1, "{begun:?}");
        }
        for requested in ["127.0.0.1:0", "localhost:0"] {
            assert!(begun.iter().any(|text| text.ends_with(&format!(" requested={requested}"))), "{begun:?}");
        }
        mark = app.mark();
        app.restart().await;
        app.wait_for_message(mark, "serving").await;
    }
    app.stop().await;
}

// ---- what comes too late

#[tokio::test(flavor = "multi_thread")]
async fn to_configure_after_the_first_server_is_an_error() {
    for words in [&["new=127.0.0.1:0"][..], &["new=127.0.0.1:0", "hooks=config"]] {
        let app = start(program(words)).await;
        let text = get(app.address().await, "/configure").await.text();
        assert_eq!(
            text,
            "configuration=true the process must be configured before its first server, and once"
        );
        app.stop().await;
    }
}

/// After a restart and after a stop: neither an error, nor before the drain is over, nor bound.
#[tokio::test(flavor = "multi_thread")]
async fn to_serve_after_the_drain_began_ends_with_the_others() {
    for signal in [Signal::SIGHUP, Signal::SIGTERM] {
        let app = start(program(&["new=127.0.0.1:0"])).await;
        let address = app.address().await;
        let mut slow = Client::connect(address).await;
        slow.ask("/sleep?ms=1000").await;
        until_busy(address, 1, 1).await;
        let (mark, me) = (app.mark(), app.first_pid());
        app.signal(me, signal);
        let late = app.wait_for(mark, |line| line.text.contains("late server ended"), PATIENCE).await;
        assert!(late.text.ends_with("ok=true"), "{late}");
        let drained = app.wait_for_message(mark, "drained").await;
        assert!(drained.after() < late.after(), "{drained} comes before {late}");
        assert_eq!(slow.answer().await.text(), "slept 1000");
        assert_eq!(app.exit(me).await.code(), Some(0));
        let pid = me.to_string();
        let own = |line: &&Line| line.message() == Some("listening") && line.field("pid") == Some(&pid);
        assert_eq!(app.lines().iter().filter(own).count(), 1);
    }
}
