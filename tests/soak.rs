//! Restart after restart under every kind of load at once, and what that costs: losses, descriptors, memory.
//! `just soak` runs it for ten minutes.

mod support;

use std::fmt;
use std::ops::RangeInclusive;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{App, H2Load, Kind, Load, Report, Resources, Running, example};

/// What a generation may have more than the first, which has served as long: allocators keep what they got.
const MEMORY_SLACK: u64 = 32 * 1024;

/// For how long, in seconds, if not said by the variable `SOAK`.
const BY_DEFAULT: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_grows() {
    let time = std::env::var("SOAK").ok().and_then(|seconds| seconds.parse().ok());
    let time = Duration::from_secs(time.unwrap_or(BY_DEFAULT));
    let app = App::start(Command::new(example("test_declarative")));
    let loads = start_loads(&app).await;
    let begun = Instant::now();
    let mut samples = Vec::new();
    while begun.elapsed() < time || samples.len() < 3 {
        let successor = app.restart().await;
        for (_, load) in &loads {
            load.until_answered_by(successor).await;
        }
        samples.push(Resources::of(successor));
    }
    let mut reports = Vec::new();
    for (name, load) in loads {
        reports.push((name, load.stop().await));
    }
    let last = app.serving_pid();
    let first = app.first_pid();
    assert_eq!(app.zombies(), [0; 0]);
    let table = Table { reports, samples, time: begun.elapsed() };
    eprintln!("{table}");
    table.assert_clean();
    assert_ne!(first, last);
    app.stop().await;
    app.ended().await;
}

async fn start_loads(app: &App) -> Vec<(&'static str, Running)> {
    let address = app.address().await;
    let load = |kind, connections| Load::new(address, kind).connections(connections).start();
    vec![
        ("fresh connections", load(Kind::Fresh, 4)),
        ("keep-alive, 0 to 5 ms between requests", load(Kind::KeepAlive { think: milliseconds(0..=5) }, 8)),
        (
            "keep-alive, 0.2 to 1 s between requests",
            load(Kind::KeepAlive { think: milliseconds(200..=1000) }, 32),
        ),
        ("responses of 1 s", load(Kind::Slow { path: "/sleep?ms=1000".to_owned() }, 8)),
        ("uploads of 256 KiB", load(Kind::Upload { bytes: 256 << 10 }, 2)),
        ("HTTP/2 streams", H2Load::new(address).connections(2).streams(4).start()),
    ]
}

fn milliseconds(range: RangeInclusive<u64>) -> RangeInclusive<Duration> {
    Duration::from_millis(*range.start())..=Duration::from_millis(*range.end())
}

struct Table {
    reports: Vec<(&'static str, Report)>,
    samples: Vec<Resources>,
    time: Duration,
}

impl Table {
    fn assert_clean(&self) {
        self.reports.iter().for_each(|(_, report)| report.assert_clean());
        let (first, last) = (&self.samples[0], &self.samples[self.samples.len() - 1]);
        // A connection more or less is chance; a descriptor a restart is a leak.
        let most = first.descriptors + 64;
        assert!(last.descriptors <= most, "{} descriptors, {} at first", last.descriptors, first.descriptors);
        let most = 2 * first.memory + MEMORY_SLACK;
        assert!(last.memory <= most, "{} KiB, {} at first", last.memory, first.memory);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} restarts in {:.0?}", self.samples.len(), self.time)?;
        writeln!(f, "{:<40} {:>10} {:>8} {:>12}", "load", "requests", "losses", "closed idle")?;
        for (name, report) in &self.reports {
            let losses = report.failed;
            writeln!(f, "{name:<40} {:>10} {losses:>8} {:>12}", report.requests, report.closed_idle)?;
        }
        let of = |pick: fn(&Resources) -> u64| {
            let all: Vec<u64> = self.samples.iter().map(pick).collect();
            let most = all.iter().max().copied().unwrap_or_default();
            format!("{} first, {} last, {most} at most", all[0], all[all.len() - 1])
        };
        writeln!(f, "descriptors of a generation: {}", of(|sample| sample.descriptors as u64))?;
        write!(f, "its memory in KiB: {}", of(|sample| sample.memory))
    }
}
