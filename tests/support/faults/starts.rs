//! The table of bad beginnings: what a deployment, a configuration or a machine does to the next generation.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use super::outcome::{Outcome, start_badly};
use super::row::Row;
use super::site::{Mode, Over, Setup, Site, User};
use crate::support::process::descriptors;

use Outcome::{CalledOff, Either, Restarted};

pub(crate) struct Start {
    pub(crate) name: &'static str,
    spoil: fn(&Site),
    outcome: Outcome,
    setup: Setup,
}

impl Start {
    /// As it is in the table.
    pub(crate) fn row(&self) -> Row {
        self.row_of(self.setup, self.outcome)
    }

    pub(crate) fn row_as(&self, user: User) -> Row {
        self.row_of(Setup { user, ..self.setup }, self.outcome)
    }

    /// None of those that begin well there.
    pub(crate) fn row_over_tls(&self, user: User) -> Option<Row> {
        let setup = Setup { user, over: Over::Tls, ..self.setup };
        (!GOOD_OVER_TLS.contains(&self.name)).then(|| self.row_of(setup, self.outcome))
    }

    pub(crate) fn supervised(&self, user: User) -> Row {
        let otherwise = SUPERVISED.iter().find(|(name, _)| *name == self.name);
        let outcome = otherwise.map_or(self.outcome, |(_, outcome)| *outcome);
        self.row_of(Setup { mode: Mode::Supervised, user, ..self.setup }, outcome)
    }

    fn row_of(&self, setup: Setup, outcome: Outcome) -> Row {
        let (name, spoil) = (self.name, self.spoil);
        Row::new(format!("{:?}, {:?}, {name}: {outcome:?}", setup.over, setup.user), async move {
            start_badly(Site::open(setup).await, spoil, outcome).await;
        })
    }
}

pub(crate) const SAME: Setup = Setup::new(Mode::Direct, User::Same);
pub(crate) const UNPRIVILEGED: Setup = Setup::new(Mode::Direct, User::Unprivileged);
/// For those that are waited for; a good successor needs much less, even on a busy machine.
const SHORT: Setup = Setup { ready_timeout: "5s", ..UNPRIVILEGED };
/// An old `init` or a careless script had it ignored; then the kernel reaps, and tells no status.
const CHILDREN_IGNORED: Setup = Setup { before: "exec env --ignore-signal=CHLD \"$0\" \"$@\"", ..SAME };
/// Started by a relative path, from a folder that will be gone.
const FROM_ELSEWHERE: Setup =
    Setup { before: "mkdir \"$0.cwd\"; cd \"$0.cwd\"; exec ../app \"$@\"", ..UNPRIVILEGED };

#[rustfmt::skip]
pub(crate) const STARTS: &[Start] = &[
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
pub(crate) const FINER_STARTS: &[Start] = &[
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

/// Those that only a server over TLS has.
#[rustfmt::skip]
pub(crate) const SECURE_STARTS: &[Start] = &[
    start("its certificate is missing", UNPRIVILEGED, |site| site.ship_script("export ENDLESS_TLS_CERT=/no/such/thing"), CalledOff(&["/no/such/thing: no such file or directory"])),
    start("its key is none", SAME, |site| site.ship_script("export ENDLESS_TLS_KEY=/dev/null"), CalledOff(&["/dev/null"])),
];

/// Enough to be ready and to confirm, and too little for the handshakes of its clients: a death that no handover
/// can foresee.
const GOOD_OVER_TLS: &[&str] = &["the successor may have 32 MB of memory"];

/// Those that a supervisor sees otherwise.
const SUPERVISED: &[(&str, Outcome)] = &[
    // It waits for its children whatever it was started with.
    (
        "SIGCHLD is ignored and it exits",
        CalledOff(&["the successor exited with status 3 before it was ready"]),
    ),
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
