//! What is asked for while a successor starts is done when that has its outcome, whatever it is.

mod support;

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::faults::{Point, Points};
use support::{App, Kind, Line, Load, Mark, Plan, Running, children, declarative, example_with, patiently};

#[tokio::test(flavor = "multi_thread")]
async fn requests_during_a_restart_that_fails_are_one_more_restart() {
    are_one_more_restart("exit", "restart called off").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_during_a_restart_that_succeeds_are_one_more_restart() {
    are_one_more_restart("", "handed over").await;
}

#[tokio::test]
async fn a_stop_ends_a_successor_that_hangs() {
    let Site { app, plan } = &Site::open().await;
    plan.set("hang");
    let mark = app.mark();
    a_successor_starts(app).await;

    app.signal(app.first_pid(), Signal::SIGTERM);
    let line = app.wait_for_message(mark, "restart called off").await;
    assert_eq!(line.field("reason"), Some("stopped by SIGTERM"));
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    app.ended().await;
}

/// The stop is meant for the service, so the predecessor does not bring it back.
#[tokio::test]
async fn a_successor_that_is_stopped_before_its_predecessor_has_let_go_is_the_end_of_both() {
    let mut command = Command::new(example_with("test_declarative", &["_pause-points"], &[]));
    let points = Points::of(&mut command);
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    let mark = app.mark();
    points.hold(Point::SaidGo);
    app.signal(app.first_pid(), Signal::SIGHUP);
    points.reached(Point::SaidGo).await;
    let line = app.wait_for_message(mark, "serving").await;
    let successor = line.field("pid").and_then(|pid| pid.parse().ok()).expect("it names its PID");

    app.signal(successor, Signal::SIGTERM);
    assert_eq!(app.exit(successor).await.code(), Some(0));
    points.release(Point::SaidGo);
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    app.ended().await;
    assert!(!app.lines().iter().any(|line| line.message() == Some("restart called off")));
}

/// Two requests while a successor starts, which then does as `planned`: both restarts have the same outcome,
/// and there is no third.
async fn are_one_more_restart(planned: &str, outcome: &str) {
    let Site { app, plan } = &Site::open().await;
    let load = fresh_load(app).await;
    plan.set("wait");
    let mark = app.mark();
    a_successor_starts(app).await;
    twice_more(app).await;

    plan.set(planned);
    let first = app.wait_for_message(mark, outcome).await;
    let second = app.wait_for_message(first.after(), outcome).await;
    if outcome == "handed over" {
        load.until_answered_by(successor(&second)).await;
    }
    plan.set("");
    is_the_only_restart_after(app, 2).await;
    load.stop().await.assert_clean();
    app.stop().await;
}

async fn fresh_load(app: &App) -> Running {
    let load = Load::new(app.address().await, Kind::Fresh).connections(8).start();
    load.until_answered(16).await;
    load
}

/// Restarts, and returns as soon as there is a successor.
async fn a_successor_starts(app: &App) {
    app.signal(app.first_pid(), Signal::SIGHUP);
    patiently(async {
        while children(app.first_pid()).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Asks for two restarts more; each has been heard when this returns.
async fn twice_more(app: &App) {
    for _ in 0..2 {
        let mark = app.mark();
        app.signal(app.first_pid(), Signal::SIGHUP);
        app.wait_for_message(mark, "restart remembered").await;
    }
}

/// After `before` restarts of which one was asked for twice, restarts, and finds that this is one more, and
/// nothing was remembered that nobody asked for.
async fn is_the_only_restart_after(app: &App, before: usize) {
    let count = |message: &str| app.lines().iter().filter(|line| line.message() == Some(message)).count();
    assert_eq!(count("restarting"), before);
    app.restart().await;
    assert_eq!((count("restarting"), count("restart remembered")), (before + 1, 2));
}

fn successor(line: &Line) -> u32 {
    line.field("successor").and_then(|pid| pid.parse().ok()).expect("the line names the successor")
}

/// A server with the plan that its next generation follows.
struct Site {
    plan: Plan,
    app: App,
}

impl Site {
    /// One that serves.
    async fn open() -> Self {
        let mut command = declarative();
        let plan = Plan::of(&mut command);
        let app = App::start(command);
        app.wait_for_message(Mark::START, "serving").await;
        Self { plan, app }
    }
}
