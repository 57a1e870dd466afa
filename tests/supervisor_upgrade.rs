//! A successor with a newer supervisor: the process with the PID that stays becomes that build, and goes on with
//! the same descriptors and the same generations.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use support::faults::Points;
use support::{
    App, Client, Kind, Line, Load, Mark, PATIENCE, Visitor, children, ctl, descriptors, example_with, get,
    install, until_busy,
};
use tempfile::TempDir;

const BECOMES: &str = "the supervisor becomes the build that serves";

struct Site {
    app: App,
    address: SocketAddr,
    points: Points,
    folder: TempDir,
}

impl Site {
    async fn open() -> Self {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("app");
        install(&program(), &path);
        let mut command = Command::new(&path);
        command.env("ENDLESS_SUPERVISE", "true");
        let points = Points::of(&mut command);
        let app = App::start(command);
        let address = app.address().await;
        app.wait_for_message(Mark::START, "serving").await;
        Self { app, address, points, folder }
    }

    /// Ships another file whose supervisor has this version, and restarts.
    async fn ship(&self, version: u32) {
        install(&program(), &self.folder.path().join("app"));
        self.points.set_version(version);
        self.app.restart().await;
    }

    async fn becomes_newer(&self) -> Mark {
        self.app.wait_for_message(Mark::START, BECOMES).await.after()
    }

    fn supervisor(&self) -> u32 {
        self.app.first_pid()
    }

    /// Which file the supervisor runs.
    fn runs(&self) -> u64 {
        let running = format!("/proc/{}/exe", self.supervisor());
        fs::metadata(running).expect("it lives").ino()
    }
}

fn program() -> std::path::PathBuf {
    example_with("test_declarative", &["_pause-points"], &[])
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).expect("it was shipped").ino()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_has_the_same_pid_children_and_descriptors_and_nobody_notices() {
    let site = Site::open().await;
    let path = site.folder.path().join("app");
    let load = || Load::new(site.address, Kind::Fresh).connections(4);
    let loads = [load().start(), load().fresh().start()];
    for load in &loads {
        load.until_answered(8).await;
    }
    // Its generation drains while its supervisor becomes another.
    let mut slow = Client::connect(site.address).await;
    slow.ask("/sleep?ms=2000").await;
    until_busy(site.address, 1, 1).await;
    let before = (descriptors(site.supervisor()), site.runs());

    site.ship(2).await;
    site.becomes_newer().await;
    assert_eq!(slow.answer().await.text(), "slept 2000");
    let successor = site.app.restart().await;
    assert_eq!(site.runs(), inode(&path), "it runs what was shipped");
    assert_ne!(site.runs(), before.1);

    // It is the parent of whoever it did not start.
    for load in loads {
        load.until_answered_by(successor).await;
        load.stop().await.assert_clean();
    }
    while children(site.supervisor()) != [successor] {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(descriptors(site.supervisor()), before.0);
    assert_eq!(site.app.zombies(), [0; 0]);
    let name = fs::read_to_string(format!("/proc/{}/comm", site.supervisor())).expect("it lives");
    assert_eq!(name.trim(), "app");

    site.app.signal(site.supervisor(), Signal::SIGTERM);
    assert_eq!(site.app.exit(site.supervisor()).await.code(), Some(0));
    site.app.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_replaces_a_generation_that_it_did_not_start() {
    let site = Site::open().await;
    site.ship(2).await;
    let mark = site.becomes_newer().await;
    let serving = site.app.serving_pid();
    site.app.signal(serving, Signal::SIGKILL);
    let serves = |line: &Line| line.message() == Some("serving") && line.field("generation") == Some("2");
    let line = site.app.wait_for(mark, serves, PATIENCE).await;
    assert_eq!(line.field("predecessor"), Some("none"));
    assert_eq!(get(site.address, "/hello").await.text(), "WORLD!");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_the_same_version_or_an_older_one_stays_what_it_is() {
    let site = Site::open().await;
    let before = site.runs();
    site.ship(1).await;
    site.ship(0).await;
    site.app.restart().await;
    assert_eq!(site.runs(), before);
    assert!(!site.app.lines().iter().any(|line| line.message() == Some(BECOMES)));
}

/// As by `endlessctl`: before that moment, with half of a question, and in it.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_when_it_becomes_another_is_answered() {
    let site = Site::open().await;
    let (early, half) = (Visitor::come(site.supervisor()), Visitor::come(site.supervisor()));
    assert!(half.say("{\"request\":"));
    site.points.hold(support::faults::Point::Becoming);
    install(&program(), &site.folder.path().join("app"));
    site.points.set_version(2);
    let said = ctl("restart", site.supervisor()).await;
    assert!(said.done().starts_with("restarted: generation 1, "), "{said:?}");
    site.points.reached(support::faults::Point::Becoming).await;
    let late = Visitor::come(site.supervisor());
    assert!(late.say("{\"request\":\"status\"}\n") && half.say("\"status\"}\n"));
    site.points.release(support::faults::Point::Becoming);
    assert!(early.say("{\"request\":\"status\"}\n"));
    for visitor in [early, half, late] {
        let told = visitor.answer().expect("an answer");
        let serving =
            told["status"]["generations"].as_array().and_then(|all| all.last()).expect("who serves");
        assert_eq!((&serving["state"], &serving["generation"]), (&"serving".into(), &1.into()));
    }
    site.becomes_newer().await;
    let said = ctl("restart", site.supervisor()).await;
    assert!(said.done().starts_with("restarted: generation 2, "), "{said:?}");
}

/// Whatever comes at that moment is done by the one or the other.
#[tokio::test(flavor = "multi_thread")]
async fn no_signal_is_lost_when_it_becomes_another() {
    let site = Site::open().await;
    site.points.hold(support::faults::Point::Becoming);
    site.ship(2).await;
    assert_eq!(site.points.reached(support::faults::Point::Becoming).await, site.supervisor());
    let mark = site.app.mark();
    site.app.signal(site.supervisor(), Signal::SIGHUP);
    site.points.release(support::faults::Point::Becoming);
    site.app.wait_for_message(mark, "handed over").await;
    site.app.signal(site.supervisor(), Signal::SIGTERM);
    assert_eq!(site.app.exit(site.supervisor()).await.code(), Some(0));
}
