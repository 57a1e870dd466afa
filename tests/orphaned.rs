//! A successor whose predecessor is killed while it starts goes on alone, with everything that was handed
//! over.

mod support;

use std::net::SocketAddr;
use std::process::Command;

use nix::sys::signal::Signal;
use support::{App, Client, Line, Mark, PATIENCE, Plan, Script, Wire, example, freeze, imperative};

#[tokio::test(flavor = "multi_thread")]
async fn before_its_first_instruction() {
    let mut command = imperative();
    let wait = r#"echo "INFO app: script pid=$$" >&2; while [ ! -e "$SCRIPT_GATE" ]; do sleep 0.05; done"#;
    let script = Script::before(&mut command, wait);
    let app = start(command).await;
    let address = app.address().await;
    app.signal(app.first_pid(), Signal::SIGHUP);
    let line = app.wait_for(Mark::START, |line| line.text.contains("script pid="), PATIENCE).await;
    let successor = pid_in(&line);
    let Some(wire) = Wire::to(successor) else { return };
    wire.carries_listeners().await;

    kill_first(&app).await;
    let mut waiting = ask_for_it(&[address]).await;
    script.open_gate();
    takes_over_alone(&app, successor).await;
    are_answered_by(successor, &mut waiting).await;
    assert_eq!(app.stop().await.code(), Some(0));
}

/// It was ready, and nobody can tell it to go any more.
#[tokio::test(flavor = "multi_thread")]
async fn between_ready_and_go() {
    let mut command = Command::new(example("test_attributed"));
    command.args(["127.0.0.1:0"; 2]);
    let plan = Plan::of(&mut command);
    let app = start(command).await;
    let addresses =
        app.addresses(2).await.iter().map(|text| text.parse().expect("an address")).collect::<Vec<_>>();
    plan.set("late");
    let mark = app.mark();
    app.signal(app.first_pid(), Signal::SIGHUP);
    let successor = pid_in(&app.wait_for_message(mark, "listening").await);
    let Some(wire) = Wire::to(successor) else { return };

    freeze(&app, app.first_pid()).await;
    plan.set("");
    wire.predecessor_has_unread().await;
    let mut waiting = ask_for_it(&addresses).await;
    kill_first(&app).await;
    takes_over_alone(&app, successor).await;
    are_answered_by(successor, &mut waiting).await;
    assert_eq!(app.stop().await.code(), Some(0));
}

async fn start(command: Command) -> App {
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    app
}

fn pid_in(line: &Line) -> u32 {
    let (_, pid) = line.text.split_once(" pid=").expect("the line names a process");
    pid.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a PID")
}

async fn kill_first(app: &App) {
    app.signal(app.first_pid(), Signal::SIGKILL);
    assert_eq!(app.exit(app.first_pid()).await.code(), None, "it was killed");
}

/// Requests on connections that nobody accepts yet.
async fn ask_for_it(addresses: &[SocketAddr]) -> Vec<Client> {
    let mut waiting = Vec::new();
    for number in 0..32 {
        let mut client = Client::connect(addresses[number % addresses.len()]).await;
        client.ask("/hello").await;
        waiting.push(client);
    }
    waiting
}

async fn takes_over_alone(app: &App, successor: u32) {
    let pid = successor.to_string();
    let serves = |line: &Line| line.message() == Some("serving") && line.field("pid") == Some(&pid);
    let line = app.wait_for(Mark::START, serves, PATIENCE).await;
    assert_eq!((line.field("generation"), line.field("predecessor")), (Some("1"), Some("none")));
}

async fn are_answered_by(successor: u32, waiting: &mut [Client]) {
    for client in waiting {
        let answer = client.answer().await;
        assert_eq!(answer.text(), "WORLD!");
        assert_eq!(answer.header("x-pid"), Some(successor.to_string().as_str()));
    }
}
