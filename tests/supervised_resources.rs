//! What a supervisor costs, restart after restart, of a program in which axum and rustls are linked: its
//! descriptors and its memory stay what they were. The figures are printed (`--nocapture`); those of a release
//! build count.

mod support;

use std::fmt;
use std::fs;
use std::process::Command;
use std::time::Duration;

use support::{Kind, Load, Supervised, descriptors, example, restarts};

/// In KiB; what the allocator and the kernel may do differently from one look to the next.
const NOISE: u64 = 256;

/// In KiB, of its own, in a release build.
const GOAL: u64 = 1024;

#[tokio::test(flavor = "multi_thread")]
async fn the_supervisor_is_small_and_stays_so() {
    let service = Supervised::start(Command::new(example("test_linked"))).await;
    let address = service.address().await;
    let think = Duration::ZERO..=Duration::from_millis(5);
    let load = Load::new(address, Kind::KeepAlive { think }).unnamed().start();
    load.until_answered(1).await;
    let at_start = Usage::of(service.pid());
    eprintln!("at start: {at_start}");
    // What is done for the first time allocates what the next times use again.
    settle(&service, 3).await;
    let before = Usage::of(service.pid());
    eprintln!("after 3 restarts: {before}");
    let count = restarts(20, 500);
    settle(&service, count).await;
    let after = Usage::of(service.pid());
    eprintln!("after {count} more: {after}");

    let report = load.stop().await;
    report.assert_clean();
    assert_eq!(after.descriptors, before.descriptors);
    assert!(after.dirty <= before.dirty + NOISE, "it has grown");
    if !cfg!(debug_assertions) {
        assert!(after.dirty < GOAL, "more than the goal");
    }
    service.terminate().await;
}

/// Restarts so often, and waits until no predecessor is left, for whom it has a descriptor.
async fn settle(service: &Supervised, times: usize) {
    for _ in 0..times {
        service.hang_up().await.expect("nothing is against it");
    }
    support::patiently(async {
        while support::children(service.pid()).len() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// At one moment, in KiB.
struct Usage {
    descriptors: usize,
    proportional: u64,
    /// Written to, and nobody else's.
    dirty: u64,
    clean: u64,
    resident: u64,
}

impl Usage {
    fn of(pid: u32) -> Self {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it lives");
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name));
            let number = value.and_then(|value| value.split_whitespace().next());
            number.and_then(|number| number.parse().ok()).expect("proc_pid_smaps(5)")
        };
        Self {
            descriptors: descriptors(pid),
            proportional: field("Pss:"),
            dirty: field("Private_Dirty:"),
            clean: field("Private_Clean:"),
            resident: field("Rss:"),
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { descriptors, proportional, dirty, clean, resident } = self;
        write!(
            f,
            "{descriptors} descriptors, Pss {proportional} kB, Private_Dirty {dirty} kB, Private_Clean {clean} kB, \
             Rss {resident} kB"
        )
    }
}
