//! A stop that comes while something else is under way, a start or a restart, is an orderly one all the same.

mod support;

use std::process::Command;

use nix::sys::signal::Signal;
use support::{App, Kind, Line, Load, Mark, PATIENCE, Plan, alive, example, freeze};

/// Main waits: as a future that can be dropped, and without giving its thread up.
const WAYS: [(&str, &str); 2] = [("build", "building"), ("wait", "waiting")];

#[tokio::test(flavor = "multi_thread")]
async fn of_a_process_that_still_builds_its_service() {
    for (way, word) in WAYS {
        let (app, plan) = start("test_declarative", way);
        let pid = says(&app, word).await;
        assert_eq!(pid, app.first_pid());
        end_early(&app, &plan, way, pid).await;
        assert_eq!(app.exit(pid).await.code(), Some(0));
        assert_no_complaint(&app);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_successor_that_still_builds_its_service() {
    for (way, word) in WAYS {
        let (app, plan) = start("test_declarative", "");
        let load = Load::new(app.address().await, Kind::Fresh).connections(8).start();
        load.until_answered(16).await;
        plan.set(way);
        app.signal(app.first_pid(), Signal::SIGHUP);
        let successor = says(&app, word).await;
        end_early(&app, &plan, way, successor).await;

        let line = app.wait_for_message(Mark::START, "restart called off").await;
        // One that takes long to end is not waited for.
        let seen = ["exited with status 0", "closed the channel"]
            .map(|end| format!("the successor {end} before it was ready"));
        assert!(seen.iter().any(|reason| line.field("reason") == Some(reason)), "{line}");
        load.until_answered(32).await;
        let report = load.stop().await;
        report.assert_clean();
        assert!(report.pids.keys().eq([&app.first_pid()]), "{report}");
        assert_no_complaint(&app);
        plan.set("");
        app.restart().await;
        app.stop().await;
    }
}

/// The successor is stopped, so that it lives longer than the drain takes.
#[tokio::test(flavor = "multi_thread")]
async fn during_a_restart_waits_for_the_hooks_after_the_restart() {
    let (app, plan) = start("test_attributed", "");
    app.wait_for_message(Mark::START, "serving").await;
    plan.set("wait");
    app.signal(app.first_pid(), Signal::SIGHUP);
    let successor = says(&app, "waiting").await;
    freeze(&app, successor).await;
    assert_eq!(app.stop().await.code(), Some(0));
    assert!(!alive(successor));

    app.wait_for(Mark::START, |line| line.text.starts_with("INFO app: returned"), PATIENCE).await;
    let lines: Vec<_> = app.lines().into_iter().map(|line| line.text).collect();
    let place = |words: &str| lines.iter().position(|line| line.contains(words));
    let hook = place("hook phase=post signal=SIGHUP").expect("main has returned without the hook");
    assert!(lines[hook].contains(r#"NotRestarted { reason: \"stopped by SIGTERM\" }"#), "{}", lines[hook]);
    assert!(Some(hook) < place("INFO app: returned"), "main has returned before the hook");
}

fn start(name: &str, plan_text: &str) -> (App, Plan) {
    let mut command = Command::new(example(name));
    if name != "test_declarative" {
        command.arg("127.0.0.1:0");
    }
    let plan = Plan::of(&mut command);
    plan.set(plan_text);
    (App::start(command), plan)
}

/// Which process says it.
async fn says(app: &App, word: &str) -> u32 {
    let words = format!("INFO app: {word} pid=");
    let line = app.wait_for(Mark::START, |line| line.text.starts_with(&words), PATIENCE).await;
    line.text[words.len()..].parse().expect("a PID")
}

/// Sends SIGTERM while main waits. Where main holds its thread, it must give it up before anything can end
/// it.
async fn end_early(app: &App, plan: &Plan, way: &str, pid: u32) {
    let mark = app.mark();
    app.signal(pid, Signal::SIGTERM);
    let heard = pid.to_string();
    let drained = |line: &Line| line.message() == Some("drained") && line.field("pid") == Some(&heard);
    app.wait_for(mark, drained, PATIENCE).await;
    if way == "wait" {
        plan.set("");
    }
}

fn assert_no_complaint(app: &App) {
    let complains =
        |line: &Line| line.text.starts_with("ERROR") || line.text.to_lowercase().starts_with("error");
    let complaint = app.lines().into_iter().find(complains);
    assert!(complaint.is_none(), "{complaint:?}");
}
