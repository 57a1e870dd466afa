//! A strict client that never retries, against restart after restart: nothing it asks may be lost.

mod support;

use std::process::Command;
use std::time::Duration;

use support::{App, Kind, Load, example, restarts};

/// Restarts under `load` until enough have completed, each while the one before still drains.
async fn nothing_is_lost(kind: Kind, connections: usize) {
    let app = App::start(Command::new(example("test_declarative")));
    let load = Load::new(app.address().await, kind).connections(connections).start();
    load.until_answered(connections as u64).await;
    for _ in 0..restarts(5, 25) {
        let successor = app.restart().await;
        load.until_answered_by(successor).await;
        load.until_answered(connections as u64).await;
    }
    let report = load.stop().await;
    eprintln!("{report}");
    report.assert_clean();
    app.stop().await;
}

fn milliseconds(range: std::ops::RangeInclusive<u64>) -> std::ops::RangeInclusive<Duration> {
    Duration::from_millis(*range.start())..=Duration::from_millis(*range.end())
}

#[tokio::test(flavor = "multi_thread")]
async fn fresh_connections() {
    nothing_is_lost(Kind::Fresh, 32).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alive_with_little_think_time() {
    nothing_is_lost(Kind::KeepAlive { think: milliseconds(0..=5) }, 32).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alive_that_idles() {
    nothing_is_lost(Kind::KeepAlive { think: milliseconds(200..=1000) }, 64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_responses_in_flight() {
    nothing_is_lost(Kind::Slow { path: "/sleep?ms=2000".to_owned() }, 32).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_in_flight() {
    nothing_is_lost(Kind::Upload { bytes: 1 << 20 }, 32).await;
}

/// Nothing is asked, so nothing names the process that accepted: what counts is that none is refused, reset
/// or closed.
#[tokio::test(flavor = "multi_thread")]
async fn bare_connects() {
    let app = App::start(Command::new(example("test_declarative")));
    let kind = Kind::Bare { think: milliseconds(0..=50) };
    let load = Load::new(app.address().await, kind).connections(32).start();
    for _ in 0..restarts(5, 25) {
        app.restart().await;
        load.until_answered(64).await;
    }
    let report = load.stop().await;
    eprintln!("{report}");
    report.assert_clean();
    app.stop().await;
}
