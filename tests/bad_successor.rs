//! A successor that cannot be started, or does not come up, leaves the predecessor serving as if nothing had been asked.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{App, Kind, Line, Load, Running, children, descriptors, example, install};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

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
    let site = Site::new();
    let app = site.serve(LONG);
    app.address().await;
    site.plan("exit");
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
    let site = Site::new();
    let app = site.serve(SHORT);
    let load = fresh_load(&app).await;
    let first = app.first_pid();
    site.plan("hang");
    let mark = app.mark();
    app.signal(first, Signal::SIGHUP);
    a_successor_starts(&app).await;
    twice_more(&app, first).await;

    site.plan("");
    app.wait_for_message(mark, "restart called off").await;
    let line = app.wait_for_message(mark, "handed over").await;
    load.until_answered_by(successor(&line)).await;
    is_the_only_one_after(&app, 2).await;
    load.stop().await.assert_clean();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_during_a_restart_that_succeeds_are_one_more_restart() {
    let site = Site::new();
    let app = site.serve(LONG);
    let load = fresh_load(&app).await;
    let first = app.first_pid();
    site.plan("wait");
    let mark = app.mark();
    app.signal(first, Signal::SIGHUP);
    a_successor_starts(&app).await;
    twice_more(&app, first).await;

    site.plan("");
    let second = successor(&app.wait_for_message(mark, "handed over").await);
    let by_second = |line: &Line| line.message() == Some("handed over") && pid(line) == second;
    let third = successor(&app.wait_for(mark, by_second, PATIENCE).await);
    load.until_answered_by(third).await;
    is_the_only_one_after(&app, 2).await;
    load.stop().await.assert_clean();
    app.stop().await;
}

#[tokio::test]
async fn a_stop_ends_a_successor_that_hangs() {
    let site = Site::new();
    let app = site.serve(LONG);
    app.address().await;
    site.plan("hang");
    let mark = app.mark();
    app.signal(app.first_pid(), Signal::SIGHUP);
    a_successor_starts(&app).await;

    app.signal(app.first_pid(), Signal::SIGTERM);
    let line = app.wait_for_message(mark, "restart called off").await;
    assert_eq!(line.field("reason"), Some("stopped by SIGTERM"));
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    app.ended().await;
}

/// Breaks the next generation and restarts under load: no request is lost, the log says `reason`, nothing is left behind, and
/// once the site is whole again a restart succeeds.
async fn is_called_off(fault: impl FnOnce(&Site), reason: &str) {
    let site = Site::new();
    let app = site.serve(SHORT);
    let load = fresh_load(&app).await;
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
    assert!(report.pids.keys().eq([first, second].iter()), "nobody else has answered: {report}");
    app.stop().await;
}

async fn fresh_load(app: &App) -> Running {
    let load = Load::new(app.address().await, Kind::Fresh).connections(8).start();
    load.until_answered(16).await;
    load
}

/// Waits until the first generation has started one.
async fn a_successor_starts(app: &App) {
    let deadline = Instant::now() + PATIENCE;
    while children(app.first_pid()).is_empty() {
        assert!(Instant::now() < deadline, "no successor was started");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks for two restarts more; each has been heard when this returns.
async fn twice_more(app: &App, pid: u32) {
    for _ in 0..2 {
        let mark = app.mark();
        app.signal(pid, Signal::SIGHUP);
        app.wait_for_message(mark, "restart remembered").await;
    }
}

/// Restarts, and finds that this was the only restart after `before` others: none was done twice, or is still to come.
async fn is_the_only_one_after(app: &App, before: usize) {
    app.restart().await;
    let lines = app.lines();
    let begun = lines.iter().filter(|line| line.message() == Some("restarting")).count();
    assert_eq!(begun, before + 1);
}

fn successor(line: &Line) -> u32 {
    line.field("successor").and_then(|pid| pid.parse().ok()).expect("the line names the successor")
}

fn pid(line: &Line) -> u32 {
    line.field("pid").and_then(|pid| pid.parse().ok()).expect("the line names the process")
}

fn plan(plan: &'static str) -> impl FnOnce(&Site) {
    move |site| site.plan(plan)
}

/// Where a program is installed, with a file that tells how its next generation starts.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().expect("a temporary folder"));
        site.repair();
        site
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("app")
    }

    fn serve(&self, ready_timeout: &str) -> App {
        let mut command = Command::new(self.program());
        command.env("APP_PLAN", self.0.path().join("plan")).env("ENDLESS_READY_TIMEOUT", ready_timeout);
        App::start(command)
    }

    fn repair(&self) {
        install(&example("test_declarative"), &self.program());
        self.plan("");
    }

    /// In one step, since generations that wait for it read it all the time.
    fn plan(&self, plan: &str) {
        let temporary = self.0.path().join("plan.new");
        fs::write(&temporary, plan).expect("our own file");
        fs::rename(temporary, self.0.path().join("plan")).expect("our own file");
    }

    fn install_text(&self, text: &str) {
        let file = self.0.path().join("text");
        fs::write(&file, text).expect("our own file");
        fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("our own file");
        install(&file, &self.program());
    }
}
