//! A successor that cannot be started, or does not come up, leaves the predecessor serving as if nothing had
//! been asked.

mod support;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::{
    App, Kind, Line, Load, Mark, Plan, Running, children, descriptors, example, install, patiently,
};
use tempfile::TempDir;

/// For the tests that wait for it; a good successor needs much less, even on a busy machine.
const SHORT: &str = "3s";
/// For the others.
const LONG: &str = "60s";

const NOBODY: [u32; 0] = [];

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_program() {
    let removed = |site: &Site| fs::remove_file(site.program()).expect("our own file");
    is_called_off(removed, "no such file or directory").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_executable() {
    let locked = |site: &Site| {
        fs::set_permissions(site.program(), Permissions::from_mode(0o644)).expect("our own file");
    };
    is_called_off(locked, "permission denied").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_file() {
    let text = |site: &Site| site.install_text("serve well\n");
    is_called_off(text, "exec format error").await;
}

/// It knows nothing of endless, and lives on.
#[tokio::test(flavor = "multi_thread")]
async fn another_program() {
    let script = |site: &Site| site.install_text("#!/bin/sh\nexec sleep 600\n");
    is_called_off(script, "the successor was not ready within 3s").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_exits() {
    is_called_off(plan("exit"), "the successor exited with status 3 before it was ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_main_returns_an_error() {
    is_called_off(plan("error"), "the successor exited with status 1 before it was ready: as planned").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_panics() {
    is_called_off(plan("panic"), "the successor exited with status 101 before it was ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_aborts() {
    is_called_off(plan("abort"), "the successor was killed by SIGABRT before it was ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs() {
    is_called_off(plan("hang"), "the successor was not ready within 3s").await;
}

#[tokio::test]
async fn ten_failures_leave_no_descriptor_behind() {
    let Site { app, plan, .. } = &Site::open(LONG).await;
    plan.set("exit");
    // The first one, so that what is opened once is open.
    app.try_restart().await.expect_err("it exits");
    let before = descriptors(app.first_pid());
    for _ in 0..10 {
        app.try_restart().await.expect_err("it exits");
    }
    assert_eq!(descriptors(app.first_pid()), before);
    assert_eq!(children(app.first_pid()), NOBODY);
    app.stop().await;
}

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
    let Site { app, plan, .. } = &Site::open(LONG).await;
    plan.set("hang");
    let mark = app.mark();
    a_successor_starts(app).await;

    app.signal(app.first_pid(), Signal::SIGTERM);
    let line = app.wait_for_message(mark, "restart called off").await;
    assert_eq!(line.field("reason"), Some("stopped by SIGTERM"));
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    app.ended().await;
}

/// Breaks the next generation and restarts under load: no request is lost, the log says `reason`, nothing is
/// left behind, and once the site is whole again a restart succeeds.
async fn is_called_off(fault: impl FnOnce(&Site), reason: &str) {
    let site = Site::open(SHORT).await;
    let app = &site.app;
    let load = fresh_load(app).await;
    let first = app.first_pid();
    fault(&site);
    let given = app.try_restart().await.expect_err("it cannot take over");
    assert!(given.ends_with(reason), "{given}");
    assert_eq!(children(first), NOBODY, "the successor is gone and reaped");
    load.until_answered(16).await;

    site.repair();
    let second = app.restart().await;
    load.until_answered_by(second).await;
    let report = load.stop().await;
    report.assert_clean();
    assert!(report.pids.keys().eq(&BTreeSet::from([first, second])), "nobody else has answered: {report}");
    app.stop().await;
}

/// Two requests while a successor starts, which then does as `planned`: both restarts have the same outcome,
/// and there is no third.
async fn are_one_more_restart(planned: &str, outcome: &str) {
    let Site { app, plan, .. } = &Site::open(LONG).await;
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

fn plan(plan: &'static str) -> impl FnOnce(&Site) {
    move |site| site.plan.set(plan)
}

/// Where a program is installed, with the plan that its next generation follows.
struct Site {
    folder: TempDir,
    plan: Plan,
    app: App,
}

impl Site {
    /// A site that serves.
    async fn open(ready_timeout: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = folder.path().join("app");
        install(&example("test_declarative"), &program);
        let mut command = Command::new(program);
        let plan = Plan::of(&mut command);
        command.env("ENDLESS_READY_TIMEOUT", ready_timeout);
        let app = App::start(command);
        app.wait_for_message(Mark::START, "serving").await;
        Self { folder, plan, app }
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("app")
    }

    fn install_text(&self, text: &str) {
        let file = self.folder.path().join("text");
        fs::write(&file, text).expect("our own file");
        fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("our own file");
        install(&file, &self.program());
    }

    fn repair(&self) {
        install(&example("test_declarative"), &self.program());
        self.plan.set("");
    }
}
