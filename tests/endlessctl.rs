//! `endlessctl restart`, `stop` and `hammer` wait for the outcome and tell it, with a supervisor and without.

mod support;

use std::fs;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::faults::{Point, Points};
use support::{
    App, Client, Ctl, Line, Mark, PATIENCE, Plan, Visitor, alive, answering_pid, both_ways, busy, children,
    ctl, declarative, example, example_with, install, serving, supervised,
};
use tempfile::TempDir;

/// One whose next generations follow a plan.
async fn start_with_plan(mut command: Command) -> (App, Plan) {
    let plan = Plan::of(&mut command);
    (serving(command).await, plan)
}

/// Waits until the service has heard what this process asks.
async fn heard(app: &App, mark: Mark, by: u32) {
    let by = by.to_string();
    let is_it = |line: &Line| line.message() == Some("asked by endlessctl") && line.field("by") == Some(&by);
    app.wait_for(mark, is_it, PATIENCE).await;
}

async fn says(app: &App, mark: Mark, text: &str) {
    app.wait_for(mark, |line| line.text.contains(text), PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_told_with_the_generation_and_its_pid() {
    for command in both_ways(declarative) {
        let app = serving(command).await;
        let asking = Ctl::begin("restart", app.first_pid());
        let by = asking.pid();
        let said = asking.said().await;
        let successor = answering_pid(&app).await;
        assert_eq!(said.done(), format!("restarted: generation 1, PID {successor}"));
        // The hooks see who has asked.
        says(&app, Mark::START, &format!("hook phase=pre signal=SIGHUP sender={by} ")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_is_not_to_be_is_told_with_the_reason() {
    let reasons = [
        ("refuse", "not restarted: hook check refused: as planned"),
        ("panic in the hook", "not restarted: hook check refused: panicked: as planned"),
        ("exit", "not restarted: the successor exited with status 3 before it was ready"),
        ("error", "not restarted: the successor exited with status 1"),
        ("abort", "not restarted: the successor was killed by SIGABRT before it was ready"),
    ];
    for command in both_ways(declarative) {
        let (app, plan) = start_with_plan(command).await;
        for (planned, reason) in reasons {
            plan.set(planned);
            let said = ctl("restart", app.first_pid()).await;
            assert!(said.failed().starts_with(reason), "{planned}: {said:?}");
        }
        plan.set("");
        assert!(ctl("restart", app.first_pid()).await.done().starts_with("restarted: generation 1, "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_is_late_or_missing_is_told() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("app");
    for mut command in both_ways(|| Command::new(&path)) {
        install(&example("test_declarative"), &path);
        command.env("ENDLESS_READY_TIMEOUT", "500ms");
        let (app, plan) = start_with_plan(command).await;
        plan.set("hang");
        let late = ctl("restart", app.first_pid()).await;
        assert!(late.failed().contains("not ready within 500ms"), "{late:?}");
        fs::remove_file(&path).expect("our own file");
        let missing = ctl("restart", app.first_pid()).await;
        assert!(missing.failed().contains("no such file"), "{missing:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_that_come_while_the_hooks_are_asked_are_one() {
    let program = || Command::new(example_with("test_declarative", &["_pause-points"], &[]));
    for (mut command, point) in both_ways(program).into_iter().zip([Point::Asked, Point::HeardAsk]) {
        let points = Points::of(&mut command);
        let app = serving(command).await;
        points.hold(point);
        let first = Ctl::begin("restart", app.first_pid());
        points.reached(point).await;
        let second = Visitor::come(app.first_pid());
        assert!(second.say("{\"request\":\"restart\"}\n"));
        if point == Point::HeardAsk {
            // The supervisor goes on while the generation stands.
            heard(&app, Mark::START, std::process::id()).await;
        }
        points.release(point);
        let (first, second) = (first.said().await, second.answer().expect("an answer"));
        assert!(first.done().ends_with(&format!("PID {}", second["restarted"]["pid"])), "{first:?} {second}");
        let restarts = app.lines().iter().filter(|line| line.message() == Some("restarting")).count();
        assert_eq!(restarts, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_that_come_while_a_successor_starts_are_one_more_and_have_its_outcome() {
    for command in both_ways(declarative) {
        let (app, plan) = start_with_plan(command).await;
        plan.set("wait");
        let mark = app.mark();
        let first = Ctl::begin("restart", app.first_pid());
        says(&app, mark, "app: waiting").await;
        let more = [0, 1].map(|_| Ctl::begin("restart", app.first_pid()));
        for one in &more {
            heard(&app, mark, one.pid()).await;
        }
        plan.set("");
        assert!(first.said().await.done().starts_with("restarted: generation 1, "));
        let [second, third] = more;
        let second = second.said().await;
        assert!(second.done().starts_with("restarted: generation 2, "), "{second:?}");
        assert_eq!(third.said().await.done(), second.done());
        assert!(second.done().ends_with(&format!("PID {}", answering_pid(&app).await)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_when_nobody_waits_for_it_any_more() {
    for command in both_ways(declarative) {
        let (app, plan) = start_with_plan(command).await;
        plan.set("wait");
        let mut asking = Ctl::begin("restart", app.first_pid());
        says(&app, Mark::START, "app: waiting").await;
        let pid = Pid::from_raw(i32::try_from(asking.pid()).expect("a PID"));
        // As by Ctrl-C, which whoever is started in the background of a script may not hear.
        kill(pid, Signal::SIGTERM).expect("it waits");
        asking.child().wait().await.expect("it ends");
        plan.set("");
        let line = app.wait_for_message(Mark::START, "handed over").await;
        assert_eq!(line.pid("successor"), Some(answering_pid(&app).await));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_before_the_outcome_is_told() {
    for command in both_ways(declarative) {
        let (app, plan) = start_with_plan(command).await;
        plan.set("wait");
        let asking = Ctl::begin("restart", app.first_pid());
        says(&app, Mark::START, "app: waiting").await;
        app.signal(app.first_pid(), Signal::SIGKILL);
        assert_eq!(asking.said().await.failed(), format!("process {} has ended", app.first_pid()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_a_restart_that_somebody_waits_for() {
    for command in both_ways(declarative) {
        let (app, plan) = start_with_plan(command).await;
        plan.set("wait");
        let restart = Ctl::begin("restart", app.first_pid());
        says(&app, Mark::START, "app: waiting").await;
        let again = Ctl::begin("restart", app.first_pid());
        heard(&app, Mark::START, again.pid()).await;
        assert_eq!(ctl("stop", app.first_pid()).await.done(), "stopped");
        assert_eq!(restart.said().await.failed(), "not restarted: stopped by SIGTERM");
        assert!(again.said().await.failed().starts_with("not restarted: "));
        app.ended().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_drains_is_not_restarted() {
    for command in both_ways(declarative) {
        let app = serving(command).await;
        let mut client = busy(&app, "/until_draining?ms=60000").await;
        let predecessor = app.serving_pid();
        app.restart().await;
        let said = ctl("restart", predecessor).await;
        assert_eq!(said.failed(), "not restarted: cannot restart: the process is draining");
        assert!(client.is_quiet() && alive(predecessor));
        assert_eq!(ctl("hammer", predecessor).await.done(), format!("hammered: PID {predecessor}"));
        client.broken().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pid_of_the_generation_that_serves_does_what_the_supervisors_does() {
    let app = serving(supervised(declarative())).await;
    let said = ctl("restart", app.serving_pid()).await;
    assert!(said.done().starts_with("restarted: generation 1, "), "{said:?}");
    let serving = answering_pid(&app).await;
    assert!(children(app.first_pid()).contains(&serving), "the supervisor has started it");
    assert_eq!(ctl("hammer", serving).await.failed(), "not hammered: not draining");
    assert_eq!(ctl("stop", serving).await.done(), "stopped");
    assert!(!alive(app.first_pid()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_until_all_have_ended() {
    for command in both_ways(declarative) {
        let app = serving(command).await;
        let mut client = busy(&app, "/sleep?ms=1500").await;
        app.restart().await;
        let all = app.processes();
        let stopping = Ctl::begin("stop", app.serving_pid());
        assert_eq!(client.answer().await.text(), "slept 1500");
        assert_eq!(stopping.said().await.done(), "stopped");
        assert_eq!(all.into_iter().filter(|pid| alive(*pid)).collect::<Vec<_>>(), [0; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hammer_ends_what_drains_and_nothing_else() {
    for mut command in both_ways(declarative) {
        command.env("ENDLESS_HAMMER_TIME", "never");
        let app = serving(command).await;
        let supervisor = (app.serving_pid() != app.first_pid()).then(|| app.first_pid());
        assert_eq!(ctl("hammer", app.first_pid()).await.failed(), "not hammered: not draining");
        let mut client: Client = busy(&app, "/hang").await;
        let predecessor = app.serving_pid();
        let successor = app.restart().await;
        let said = ctl("hammer", supervisor.unwrap_or(predecessor)).await;
        assert_eq!(said.done(), format!("hammered: PID {predecessor}"));
        assert!(!alive(predecessor));
        client.broken().await;
        assert_eq!(answering_pid(&app).await, successor);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hammer_ends_a_stop() {
    for mut command in both_ways(declarative) {
        command.env("ENDLESS_HAMMER_TIME", "never");
        let app = serving(command).await;
        let _client = busy(&app, "/hang").await;
        let serving = app.serving_pid();
        let stopping = Ctl::begin("stop", app.first_pid());
        app.wait_for_message(Mark::START, "draining").await;
        assert_eq!(ctl("hammer", app.first_pid()).await.done(), format!("hammered: PID {serving}"));
        assert_eq!(stopping.said().await.done(), "stopped");
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pid_that_is_none_of_a_service_is_told() {
    let nobody = i32::MAX.unsigned_abs();
    assert_eq!(ctl("restart", nobody).await.failed(), format!("there is no process {nobody}"));
    let this = std::process::id();
    for command in ["restart", "stop", "hammer", "status"] {
        let said = ctl(command, this).await;
        assert!(
            said.failed().starts_with(&format!("process {this} cannot be asked: it is no service")),
            "{said:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_line_that_is_none_is_told_what_is() {
    for arguments in [&["restart"][..], &["rewind", "7"], &["stop", "x"], &["restart", "7", "--json"], &[]] {
        let said = Ctl::begin_with(arguments).said().await;
        assert!(said.misused().contains("usage: endlessctl restart PID"), "{said:?}");
    }
    let help = Ctl::begin_with(&["--help"]).said().await;
    assert!(help.done().starts_with("usage: endlessctl restart PID"));
    let version = Ctl::begin_with(&["--version"]).said().await;
    assert_eq!(version.done(), concat!("endlessctl ", env!("CARGO_PKG_VERSION")));
}
