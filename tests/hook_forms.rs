//! A hook of every form runs at every kind of moment, and what it returns is heard.

mod support;

use std::process::Command;

use nix::sys::signal::Signal;
use support::{App, Client, Line, Mark, PATIENCE, Plan, example};

fn program() -> Command {
    Command::new(example("test_forms"))
}

async fn start(command: Command) -> App {
    let app = App::start(command);
    ran(&app, "ready_async_event").await;
    app
}

/// Waits until a hook has said this.
async fn ran(app: &App, form: &str) -> Line {
    let said = |line: &Line| form_of(line).is_some_and(|said| said.starts_with(form));
    app.wait_for(Mark::START, said, PATIENCE).await
}

fn form_of(line: &Line) -> Option<&str> {
    line.text.strip_prefix("INFO app: form=")
}

/// What the hooks have said whose names begin so, in order.
fn forms(app: &App, prefix: &str) -> Vec<String> {
    let lines = app.lines();
    let forms = lines.iter().filter_map(form_of).filter(|form| form.starts_with(prefix));
    forms.map(str::to_owned).collect()
}

/// Waits until the log says that a hook failed, and for what reason.
async fn failed(app: &App, moment: &str, hook: &str) -> String {
    let told = |line: &Line| {
        line.message() == Some("hook failed")
            && line.field("moment") == Some(moment)
            && line.field("hook") == Some(hook)
    };
    let line = app.wait_for(Mark::START, told, PATIENCE).await;
    line.field("reason").expect("it says why").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn around_a_signal() {
    let app = start(program()).await;
    app.signal(app.first_pid(), Signal::SIGWINCH);
    ran(&app, "last").await;
    let sync = ["sync_nothing", "sync_event Some(WindowChange)", "sync_result", "sync_event_result"];
    assert_eq!(forms(&app, "sync_"), sync);
    let asynchronous =
        ["async_nothing", "async_event Some(WindowChange)", "async_result", "async_event_result"];
    assert_eq!(forms(&app, "async_"), asynchronous);
    for hook in ["sync_result", "sync_event_result", "async_result", "async_event_result"] {
        assert_eq!(failed(&app, "pre SIGWINCH", hook).await, format!("{hook} failed"));
    }
    assert_eq!(failed(&app, "pre SIGWINCH", "sync_panic").await, "panicked: sync_panic failed");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_points_of_a_life() {
    let app = start(program()).await;
    let address = app.address().await;
    let (begin_sync, begin_async) =
        (format!("begin_sync_address {address}"), format!("begin_async_address {address}"));
    assert_eq!(
        forms(&app, "begin_"),
        ["begin_sync_nothing", &begin_sync, "begin_async_nothing", &begin_async]
    );
    assert_eq!(failed(&app, "before_begin", "begin_async_address").await, format!("{begin_async} failed"));
    assert_eq!(forms(&app, "ready_"), ["ready_sync_nothing", "ready_async_event 0"]);
    assert_eq!(failed(&app, "ready", "ready_async_event").await, "ready_async_event 0 failed");

    assert_eq!(app.stop().await.code(), Some(0), "whatever a hook returns");
    let drained = ["drained_async_nothing", "drained_sync_event Some(Stopped)"];
    assert_eq!(forms(&app, "drained_"), drained);
    assert_eq!(failed(&app, "drained", "drained_sync_event").await, format!("{} failed", drained[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn under_the_hammer() {
    let mut command = program();
    command.env("ENDLESS_HAMMER_TIME", "500ms");
    let app = start(command).await;
    let mut client = Client::connect(app.address().await).await;
    client.ask("/hang").await;
    app.wait_for(Mark::START, |line| line.text == "INFO app: stuck in /hang", PATIENCE).await;
    assert_eq!(app.stop().await.code(), Some(0));
    let hammered = ["hammered_nothing", "hammered_event Some(Hammered { connections: 1 })"];
    ran(&app, hammered[1]).await;
    assert_eq!(forms(&app, "hammered_"), hammered);
    assert_eq!(failed(&app, "hammered", "hammered_event").await, format!("{} failed", hammered[1]));
}

/// A sync one cannot be ended, but nobody waits for it, and when it is done a restart succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_one_that_fails_or_takes_too_long_calls_a_restart_off() {
    let mut command = program();
    let plan = Plan::of(&mut command);
    let app = start(command).await;
    let error = std::fmt::Error;
    for (planned, reason) in [
        ("refuse", format!("hook refuses_if_planned refused: {error}")),
        ("block", "hook blocks_if_planned refused: not done within 300ms".to_owned()),
    ] {
        plan.set(planned);
        assert_eq!(app.try_restart().await.expect_err("refused"), reason);
    }
    let line = app.wait_for_message(Mark::START, "hook timed out").await;
    assert_eq!(line.field("hook"), Some("blocks_if_planned"));
    plan.set("");
    app.restart().await;
    app.stop().await;
}
