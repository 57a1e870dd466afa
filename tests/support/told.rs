//! What the lines of a server tell of a signal, a restart, a supervisor, and the one request that finds out
//! who serves.

use std::process::Command;

use nix::sys::signal::Signal;

use super::client::{Client, get, until_busy};
use super::process::{App, Line, Mark, PATIENCE, SUPERVISE};

/// Waits until the process says that the signal came in.
pub(crate) async fn received(app: &App, mark: Mark, signal: Signal, pid: u32) -> Line {
    let (signal, pid) = (signal.to_string(), pid.to_string());
    let told = |line: &Line| {
        line.message() == Some("received")
            && line.field("signal") == Some(&signal)
            && line.field("pid") == Some(&pid)
    };
    app.wait_for(mark, told, PATIENCE).await
}

/// How many lines of this message there are from this process.
pub(crate) fn count(app: &App, message: &str, pid: u32) -> usize {
    let pid = pid.to_string();
    let told = |line: &&Line| line.message() == Some(message) && line.field("pid") == Some(&pid);
    app.lines().iter().filter(told).count()
}

pub(crate) fn successor_of(line: &Line) -> u32 {
    line.field("successor").and_then(|pid| pid.parse().ok()).expect("the line names the successor")
}

pub(crate) async fn answering_pid(app: &App) -> u32 {
    let answer = get(app.address().await, "/hello").await;
    assert_eq!(answer.text(), "WORLD!");
    answer.header("x-pid").and_then(|pid| pid.parse().ok()).expect("it names its process")
}

/// A client with a request in flight, for `/sleep` or without end.
pub(crate) async fn busy(app: &App, path: &str) -> Client {
    let mut client = Client::connect(app.address().await).await;
    client.ask(path).await;
    until_busy(app.address().await, 1, 1).await;
    client
}

/// Waits until everything which was sent to the process `pid` before has been dealt with; `serving` is who
/// acts on it.
pub(crate) async fn caught_up(app: &App, pid: u32, serving: u32) {
    let mark = app.mark();
    sent_by_another(app, pid, Signal::SIGUSR1);
    received(app, mark, Signal::SIGUSR1, serving).await;
}

/// Sends a signal from a process that has sent no other: one from the same sender to supervisor and
/// generation is one signal.
#[track_caller]
pub(crate) fn sent_by_another(app: &App, pid: u32, signal: Signal) {
    assert!(app.processes().contains(&pid), "{pid} is no living process of this server");
    let kill = format!("kill -s {} {pid}", signal.as_str().trim_start_matches("SIG"));
    let sent = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
    assert!(sent.success(), "{kill}: {sent}");
}

/// The same program under a supervisor.
pub(crate) fn supervised(mut command: Command) -> Command {
    command.env(SUPERVISE, "true");
    command
}

/// Waits until the first generation serves; returns its supervisor's PID.
pub(crate) async fn supervisor_of(app: &App) -> u32 {
    let line = app.wait_for_message(Mark::START, "serving").await;
    line.field("supervisor").and_then(|pid| pid.parse().ok()).expect("the line names the supervisor")
}

/// Waits for the outcome of a restart that was asked for after `mark`: the successor, which serves.
pub(crate) async fn restarted(app: &App, mark: Mark) -> u32 {
    let is_outcome = |line: &Line| {
        matches!(line.message(), Some("handed over" | "restart called off" | "restart refused"))
    };
    let line = app.wait_for(mark, is_outcome, PATIENCE).await;
    let successor = successor_of(&line);
    assert_eq!(answering_pid(app).await, successor);
    successor
}
