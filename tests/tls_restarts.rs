//! A strict client that never retries, over TLS, against restart after restart: nothing it asks may be lost.

mod support;

use std::ops::RangeInclusive;
use std::time::Duration;

use support::{App, Authority, H2Load, Kind, Load, Running, Secure, VERSIONS, declarative, restarts};

/// Restarts under each load, over both versions at once, until enough have completed, each while the one before
/// still drains.
async fn nothing_is_lost(loads: impl Fn(std::net::SocketAddr, &Secure) -> Running) {
    let authority = Authority::new();
    let identity = authority.issue("server", &["localhost"]);
    let mut command = declarative();
    command.env("ENDLESS_TLS_CERT", &identity.cert).env("ENDLESS_TLS_KEY", &identity.key);
    let app = App::start(command);
    let address = app.address().await;
    let running = VERSIONS.map(|version| loads(address, &Secure::trusting(&authority).version(version)));
    for load in &running {
        load.until_answered(8).await;
    }
    for _ in 0..restarts(3, 50) {
        let successor = app.restart().await;
        for load in &running {
            load.until_answered_by(successor).await;
            load.until_answered(8).await;
        }
    }
    for load in running {
        let report = load.stop().await;
        eprintln!("{report}");
        report.assert_clean();
    }
    app.stop().await;
}

fn milliseconds(range: RangeInclusive<u64>) -> RangeInclusive<Duration> {
    Duration::from_millis(*range.start())..=Duration::from_millis(*range.end())
}

async fn nothing_of_http_1_is_lost(kind: Kind, connections: usize) {
    nothing_is_lost(|address, secure| {
        Load::new(address, kind.clone()).secure(secure).connections(connections).start()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections() {
    nothing_of_http_1_is_lost(Kind::Fresh, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alive_with_little_think_time() {
    nothing_of_http_1_is_lost(Kind::KeepAlive { think: milliseconds(0..=5) }, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alive_that_idles() {
    nothing_of_http_1_is_lost(Kind::KeepAlive { think: milliseconds(200..=1000) }, 16).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_in_flight() {
    nothing_of_http_1_is_lost(Kind::Upload { bytes: 1 << 20 }, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_http_2() {
    nothing_is_lost(|address, secure| {
        H2Load::new(address).secure(&secure.clone().protocol("h2")).connections(4).streams(4).start()
    })
    .await;
}
