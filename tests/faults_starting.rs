//! Whatever keeps a successor from starting, the predecessor serves on as if nothing had been asked: the fault
//! table of bad beginnings.

mod support;

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::faults::{
    Ended, Mode, Outcome, Point, Row, Setup, Site, User, load, pid_in, run_all, start_badly,
};
use support::{children, descriptors, get, restarts, tool};

use Outcome::{CalledOff, Either, Restarted};

const NOBODY: [u32; 0] = [];

/// Something that a deployment, a configuration or a machine does to the next generation.
struct Start {
    name: &'static str,
    spoil: fn(&Site),
    outcome: Outcome,
    setup: Setup,
}

const SAME: Setup = Setup::new(Mode::Direct, User::Same);
const UNPRIVILEGED: Setup = Setup::new(Mode::Direct, User::Unprivileged);
/// For those that are waited for; a good successor needs much less, even on a busy machine.
const SHORT: Setup = Setup { ready_timeout: "5s", ..UNPRIVILEGED };
/// An old `init` or a careless script had it ignored; then the kernel reaps, and tells no status.
const CHILDREN_IGNORED: Setup = Setup { before: "exec env --ignore-signal=CHLD \"$0\" \"$@\"", ..SAME };
/// Started by a relative path, from a folder that will be gone.
const FROM_ELSEWHERE: Setup =
    Setup { before: "mkdir \"$0.cwd\"; cd \"$0.cwd\"; exec ../app \"$@\"", ..UNPRIVILEGED };

#[rustfmt::skip]
const STARTS: &[Start] = &[
    start("the program is missing", SAME, |site| fs::remove_file(site.path()).expect("our own file"), CalledOff(&["no such file or directory"])),
    start("the program may not be executed", UNPRIVILEGED, forbid, CalledOff(&["permission denied"])),
    start("a folder in the program's place", SAME, put_folder, CalledOff(&["permission denied"])),
    start("a text file", UNPRIVILEGED, |site| site.ship(b"serve well\n"), CalledOff(&["exec format error"])),
    start("a tenth of the program", UNPRIVILEGED, |site| ship_part(site, |length| length / 10), CalledOff(CRASHED)),
    start("another program, which lives on", SHORT, |site| site.ship(b"#!/bin/sh\nexec sleep 600\n"), CalledOff(&["the successor was not ready within 5s"])),
    start("it exits before main", UNPRIVILEGED, |site| site.ship_script("exit 7"), CalledOff(&["the successor exited with status 7 before it was ready"])),
    start("it exits in main", UNPRIVILEGED, |site| site.plan.set("exit"), CalledOff(&["the successor exited with status 3 before it was ready"])),
    start("main returns an error", SAME, |site| site.plan.set("error"), CalledOff(&["the successor exited with status 1 before it was ready: as planned"])),
    start("main panics", UNPRIVILEGED, |site| site.plan.set("panic"), CalledOff(&["the successor exited with status 101 before it was ready"])),
    start("main aborts", SAME, |site| site.plan.set("abort"), CalledOff(&["the successor was killed by SIGABRT before it was ready"])),
    start("main hangs", SHORT, |site| site.plan.set("hang"), CalledOff(&["the successor was not ready within 5s"])),
    start("a new address is in use", UNPRIVILEGED, listen_where_somebody_does, CalledOff(&["address already in use"])),
    start("a new address overlaps an old one", SAME, listen_everywhere, CalledOff(&["which the predecessor listens on): address already in use"])),
    start("a setting that cannot be used", SAME, |site| site.ship_script("export ENDLESS_HAMMER_TIME=soon"), CalledOff(&["the successor exited with status 2 before it was ready"])),
    start("a hook refuses", UNPRIVILEGED, |site| site.plan.set("refuse"), CalledOff(&["hook check refused: as planned"])),
    start("a hook panics", SAME, |site| site.plan.set("panic in the hook"), CalledOff(&["hook check"])),
    start("a hook hangs", UNPRIVILEGED, |site| site.plan.set("hang in the hook"), CalledOff(&["hook check"])),
    start("SIGCHLD is ignored and it exits", CHILDREN_IGNORED, |site| site.plan.set("exit"), CalledOff(&["the successor ended before it was ready"])),
    start("SIGCHLD is ignored and all is well", CHILDREN_IGNORED, |_| {}, Restarted),
    start("the working directory is gone", FROM_ELSEWHERE, |site| fs::remove_dir(site.folder().join("app.cwd")).expect("our own folder"), Restarted),
    start("the predecessor is out of descriptors", UNPRIVILEGED, |site| leave_descriptors(site, 0), Either),
    start("the predecessor has two descriptors left", UNPRIVILEGED, |site| leave_descriptors(site, 2), Either),
    start("the successor may have four descriptors", UNPRIVILEGED, |site| site.ship_script("ulimit -n 4"), CalledOff(&["before it was ready"])),
    start("the successor may have eight descriptors", UNPRIVILEGED, |site| site.ship_script("ulimit -n 8"), CalledOff(&["before it was ready", "descriptors"])),
    start("the successor may have sixteen descriptors", UNPRIVILEGED, |site| site.ship_script("ulimit -n 16"), CalledOff(&["before it was ready", "too many open files"])),
    start("the successor may have eighteen descriptors", UNPRIVILEGED, |site| site.ship_script("ulimit -n 18"), CalledOff(&["before it was ready", "too many open files"])),
    start("the successor may have 4 MB of memory", UNPRIVILEGED, |site| site.ship_script("ulimit -v 4000"), CalledOff(CRASHED)),
    start("the successor may have 16 MB of memory", SAME, |site| site.ship_script("ulimit -v 16000"), CalledOff(CRASHED)),
    start("the successor may have 64 MB of memory", SAME, |site| site.ship_script("ulimit -v 64000"), Either),
];

/// The finer steps of a scale, for the whole table.
#[rustfmt::skip]
const FINER_STARTS: &[Start] = &[
    start("a script for an interpreter that is not there", SAME, |site| site.ship(b"#!/no/such/thing\n"), CalledOff(&["no such file or directory"])),
    start("the first bytes of the program", SAME, |site| ship_part(site, |_| 100), CalledOff(&["exec format error"])),
    start("a hundredth of the program", SAME, |site| ship_part(site, |length| length / 100), CalledOff(CRASHED)),
    start("it exits before main as if all were well", SAME, |site| site.ship_script("exit 0"), CalledOff(&["the successor exited with status 0 before it was ready"])),
    start("the predecessor has one descriptor left", UNPRIVILEGED, |site| leave_descriptors(site, 1), Either),
    start("the predecessor has three descriptors left", UNPRIVILEGED, |site| leave_descriptors(site, 3), Either),
    start("the predecessor has four descriptors left", UNPRIVILEGED, |site| leave_descriptors(site, 4), Either),
    start("the predecessor has five descriptors left", UNPRIVILEGED, |site| leave_descriptors(site, 5), Either),
    start("the successor may have twelve descriptors", UNPRIVILEGED, |site| site.ship_script("ulimit -n 12"), CalledOff(&["before it was ready", "descriptors"])),
    start("the successor may have 32 MB of memory", UNPRIVILEGED, |site| site.ship_script("ulimit -v 32000"), Either),
];

/// In one way or another.
const CRASHED: &[&str] = &["exec format error", "was killed by", "exited with status"];

const fn start(name: &'static str, setup: Setup, spoil: fn(&Site), outcome: Outcome) -> Start {
    Start { name, spoil, outcome, setup }
}

fn forbid(site: &Site) {
    // Not through the link that all sites share.
    site.ship(b"#!/bin/sh\n");
    fs::set_permissions(site.path(), Permissions::from_mode(0o644)).expect("our own file");
}

fn put_folder(site: &Site) {
    fs::remove_file(site.path()).expect("our own file");
    fs::create_dir(site.path()).expect("our own folder");
}

/// What a copy that was interrupted leaves: the greater part of a program with debug information is that.
fn ship_part(site: &Site, part: fn(usize) -> usize) {
    let whole = fs::read(site.path()).expect("our own file");
    site.ship(&whole[..part(whole.len())]);
}

/// The listener is kept for as long as the test runs.
fn listen_where_somebody_does(site: &Site) {
    let somebody = Box::leak(Box::new(TcpListener::bind("127.0.0.1:0").expect("a port")));
    let address = somebody.local_addr().expect("bound");
    site.ship_script(&format!("export ENDLESS_LISTEN=127.0.0.1:0,{address}"));
}

fn listen_everywhere(site: &Site) {
    site.ship_script(&format!("export ENDLESS_LISTEN=0.0.0.0:{}", site.address.port()));
}

/// As many more as it has open now, give or take the load's.
fn leave_descriptors(site: &Site, more: usize) {
    site.lower_limit("nofile", descriptors(site.app.first_pid()) + more);
}

/// By default one user each, in the whole table both.
#[tokio::test(flavor = "multi_thread")]
async fn every_bad_beginning() {
    let all = restarts(0, 1) == 1;
    let finer = FINER_STARTS.iter().take(restarts(0, usize::MAX));
    let rows = STARTS.iter().chain(finer).flat_map(|start| {
        let users = [User::Same, User::Unprivileged];
        let chosen = users.into_iter().filter(move |user| all || start.setup.user == *user);
        chosen.map(move |user| {
            let setup = Setup { user, ..start.setup };
            let name = format!("{user:?}, {}: {:?}", start.name, start.outcome);
            Row::new(
                name,
                async move { start_badly(Site::open(setup).await, start.spoil, start.outcome).await },
            )
        })
    });
    run_all(rows.collect()).await;
}

/// The kernel's limit does not hold for root.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_processes() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: a limit of processes would hit those of the test's own user");
        return;
    }
    let Some(_prlimit) = tool("prlimit") else { return };
    let site = Site::open(UNPRIVILEGED).await;
    let spoil = |site: &Site| site.lower_limit("nproc", 1);
    start_badly(site, spoil, CalledOff(&["resource temporarily unavailable"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_failures_leave_nothing_behind() {
    let ways: [fn(&Site); 3] =
        [|site| site.plan.set("exit"), |site| site.plan.set("refuse"), |site| site.ship(b"serve well\n")];
    let rows = [SAME, UNPRIVILEGED].map(|setup| {
        Row::new(format!("{:?}, fifty failures", setup.user), async move {
            let site = Site::open(setup).await;
            let pid = site.app.first_pid();
            for number in 0..50 {
                site.repair();
                ways[number % ways.len()](&site);
                site.app.try_restart().await.expect_err("it cannot take over");
                assert_eq!(children(pid), NOBODY);
            }
            site.repair();
            let at = site.address;
            site.ends(Ended::Served { by: pid, at }).await;
        })
    });
    run_all(rows.into()).await;
}

/// They are one restart, or two if some come after the successor was started.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_in_a_tenth_of_a_second() {
    let rows = (0..restarts(2, 20)).map(|number| {
        let setup = [SAME, UNPRIVILEGED][number % 2];
        Row::new(format!("{:?}, a hundred SIGHUPs", setup.user), hang_up_a_hundred_times(setup))
    });
    run_all(rows.collect()).await;
}

async fn hang_up_a_hundred_times(setup: Setup) {
    let site = Site::open(setup).await;
    let loads = load(site.address).await;
    let (mark, first) = (site.app.mark(), site.app.first_pid());
    let pid = Pid::from_raw(i32::try_from(first).expect("a PID fits"));
    for _ in 0..100 {
        // Not through the guard, which looks at all processes before each. It may have ended by now: it is a
        // zombie then, which only the guard reaps.
        kill(pid, Signal::SIGHUP).expect("it is ours");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let line = site.says(mark, first, "handed over").await;
    let mut serving = pid_in(&line, "successor");
    site.says(mark, serving, "serving").await;
    if site.said(first, "restart remembered") > 0 {
        let line = site.says(mark, serving, "handed over").await;
        serving = pid_in(&line, "successor");
        site.says(mark, serving, "serving").await;
    }
    for load in loads {
        load.until_answered_by(serving).await;
        load.stop().await.assert_clean();
    }
    let restarts = site.app.lines().iter().filter(|line| line.message() == Some("restarting")).count();
    assert!(restarts <= 2, "{restarts} restarts");
    let at = site.address;
    site.ends(Ended::Served { by: serving, at }).await;
}

/// While the channel is open and everything is in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_subprocess_of_the_user_in_the_middle_of_a_restart() {
    for (point, setup) in [(Point::HandedOver, SAME), (Point::HeardReady, UNPRIVILEGED)] {
        let site = Site::open(setup).await;
        let (mark, first) = (site.app.mark(), site.app.first_pid());
        let before = get(site.address, "/spawn").await.text();
        site.points.hold(point);
        site.hang_up(first);
        site.points.reached(point).await;

        let found = get(site.address, "/spawn").await.text();
        let count = |listing: &str| listing.matches(" -> ").count();
        assert_eq!(count(&found), count(&before), "{found}\nbefore:\n{before}");
        assert!(!found.contains("socket:") && !found.contains("anon_inode:"), "{found}");
        let line = get(site.address, "/spawn_self").await.text();
        assert!(line.contains(" generation=0 ") && line.ends_with(" predecessor=none"), "{line:?}");

        site.points.release(point);
        let line = site.says(mark, first, "handed over").await;
        let at = site.address;
        site.ends(Ended::Served { by: pid_in(&line, "successor"), at }).await;
    }
}
