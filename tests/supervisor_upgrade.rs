//! A successor with a newer supervisor: the process with the PID that stays becomes that build, and goes on
//! with the same descriptors and the same generations.

mod support;

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use support::faults::{Point, Points};
use support::{
    App, Client, Kind, Line, Load, Mark, PATIENCE, Visitor, alive, children, ctl, descriptors, example_with,
    get, install, patiently, received, restarts, sent_by_another, until_busy,
};
use tempfile::TempDir;

const BECOMES: &str = "the supervisor becomes the build that serves";
const STAYS: &str = "the supervisor stays the build that it is";

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

    /// Waits until that is done which the signal wants.
    async fn has_acted(&self, mark: Mark, signal: Signal) {
        match signal {
            Signal::SIGHUP => {
                let shipped = self.app.wait_for_message(mark, "handed over").await.after();
                self.app.wait_for_message(shipped, "handed over").await;
            }
            other => drop(received(&self.app, mark, other, self.app.serving_pid()).await),
        }
    }

    /// Ships a newer build, which is held where it rehearses: the process that does, and from where to read on.
    async fn rehearses(&self) -> (Mark, u32) {
        self.points.hold(Point::Rehearsing);
        let mark = self.app.mark();
        self.ship(2).await;
        (mark, self.points.reached(Point::Rehearsing).await)
    }

    async fn runs_what_was_shipped(&self) {
        let shipped = inode(&self.folder.path().join("app"));
        patiently(async {
            while self.runs() != shipped {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// It is what it was, and restarts as ever; the next build may be another.
    async fn goes_on_as(&self, build: u64) {
        self.app.restart().await;
        assert_eq!(get(self.address, "/hello").await.text(), "WORLD!");
        assert_eq!((self.runs(), self.count(STAYS), self.count(BECOMES)), (build, 1, 1));
        self.has_no_child_but(self.app.serving_pid()).await;
        self.points.release(Point::Rehearsing);
        self.ship(3).await;
        self.runs_what_was_shipped().await;
    }

    async fn has_no_child_but(&self, pid: u32) {
        patiently(async {
            while children(self.supervisor()) != [pid] {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    fn count(&self, message: &str) -> usize {
        self.app.lines().iter().filter(|line| line.message() == Some(message)).count()
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

fn program() -> PathBuf {
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
    site.has_no_child_but(successor).await;
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
    site.points.hold(Point::Becoming);
    install(&program(), &site.folder.path().join("app"));
    site.points.set_version(2);
    let said = ctl("restart", site.supervisor()).await;
    assert!(said.done().starts_with("restarted: generation 1, "), "{said:?}");
    site.points.reached(Point::Becoming).await;
    let late = Visitor::come(site.supervisor());
    assert!(late.say("{\"request\":\"status\"}\n") && half.say("\"status\"}\n"));
    site.points.release(Point::Becoming);
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

/// Where a supervisor is stopped on its way to another build: it still hears signals, or they wait; it is the
/// other build, and knows nothing yet, or all.
const STEPS: [Point; 4] = [Point::Rehearsed, Point::Becoming, Point::Became, Point::Resumed];

/// One that restarts, one with a hook, and one that is only remarked upon.
const SIGNALS: [Signal; 3] = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];

/// Whatever comes at such a moment is done by the one or the other, and once.
#[tokio::test(flavor = "multi_thread")]
async fn no_signal_and_no_request_is_lost_when_it_becomes_another_again_and_again() {
    let site = Site::open().await;
    let load = || Load::new(site.address, Kind::Both { think: THINK, bytes: 3000 }).connections(4);
    let loads = [load().staying().start(), load().fresh().start()];
    let (before, mut versions) = (descriptors(site.supervisor()), 2..);
    let mut restarts_done = 0;
    for round in 0..restarts(5, 20) {
        let (step, signal) = (STEPS[round % STEPS.len()], SIGNALS[round % SIGNALS.len()]);
        let mark = site.app.mark();
        site.points.hold(step);
        site.ship(versions.next().expect("there are many")).await;
        assert_eq!(site.points.reached(step).await, site.supervisor());
        sent_by_another(&site.app, site.supervisor(), signal);
        site.points.release(step);
        site.has_acted(mark, signal).await;
        site.runs_what_was_shipped().await;
        restarts_done += 1 + usize::from(signal == Signal::SIGHUP);
        for load in &loads {
            load.until_answered_by(site.app.serving_pid()).await;
        }
    }
    for load in loads {
        load.stop().await.assert_clean();
    }
    assert_eq!(site.count("handed over"), restarts_done);
    site.has_no_child_but(site.app.serving_pid()).await;
    assert_eq!(descriptors(site.supervisor()), before);
    site.app.signal(site.supervisor(), Signal::SIGTERM);
    assert_eq!(site.app.exit(site.supervisor()).await.code(), Some(0));
    site.app.ended().await;
}

const THINK: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_millis(20);

/// What it would be given lies in memory that nobody can change any more, this process neither.
#[tokio::test(flavor = "multi_thread")]
async fn what_it_leaves_to_itself_is_sealed() {
    let site = Site::open().await;
    site.points.hold(Point::Becoming);
    site.ship(2).await;
    site.points.reached(Point::Becoming).await;
    let entries = fs::read_dir(format!("/proc/{}/fd", site.supervisor())).expect("it lives").flatten();
    let is_it =
        |path: &PathBuf| fs::read_link(path).is_ok_and(|to| to.display().to_string().starts_with("/memfd:"));
    let state = entries.map(|entry| entry.path()).find(is_it).expect("it is written");
    let text = fs::read_to_string(&state).expect("it can be read");
    assert!(text.contains("\"generations\""), "{text}");
    let written = File::options().write(true).open(&state).and_then(|mut file| file.write(b"{}"));
    assert_eq!(written.expect_err("it is sealed").raw_os_error(), Some(Errno::EPERM as i32));
    site.points.release(Point::Becoming);
    site.runs_what_was_shipped().await;
}

/// A build that cannot go on from what it is given says so, or dies, in a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn it_becomes_no_build_that_dies_of_what_it_would_be_given() {
    let site = Site::open().await;
    let before = site.runs();
    let (mark, rehearses) = site.rehearses().await;
    assert!(children(site.supervisor()).contains(&rehearses));
    site.app.signal(rehearses, Signal::SIGKILL);
    let line = site.app.wait_for_message(mark, STAYS).await;
    assert_eq!(line.field("error"), Some("it does not understand what it would be given"));
    site.goes_on_as(before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_becomes_no_build_that_hangs() {
    let site = Site::open().await;
    let before = site.runs();
    let (mark, rehearses) = site.rehearses().await;
    let line = site.app.wait_for_message(mark, STAYS).await;
    assert_eq!(line.field("error"), Some("it does not say in time whether it can"));
    assert!(!alive(rehearses));
    site.goes_on_as(before).await;
}
