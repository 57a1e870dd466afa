//! HTTP/2 connections are told to leave by GOAWAY, and nothing that was asked on them is lost.

mod support;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::{App, Frame, H2Client, H2Load, body_of, example, restarts};

#[tokio::test(flavor = "multi_thread")]
async fn no_stream_is_lost_across_restarts() {
    let app = App::start(Command::new(example("test_declarative")));
    let load = H2Load::new(app.address().await).connections(8).streams(8).start();
    load.until_answered(64).await;
    let mut generations = BTreeSet::from([app.first_pid()]);
    for _ in 0..restarts(5, 25) {
        let successor = app.restart().await;
        generations.insert(successor);
        load.until_answered_by(successor).await;
        load.until_answered(64).await;
    }
    let report = load.stop().await;
    eprintln!("{report}");
    report.assert_clean();
    assert!(report.pids.keys().eq(&generations), "not all of {generations:?} have answered: {report}");
    app.stop().await;
}

#[tokio::test]
async fn an_idle_connection_gets_a_goaway_and_is_closed() {
    let app = App::start(Command::new(example("test_declarative")));
    let mut client = H2Client::open(app.address().await).await;
    client.get(1, "/hello").await;
    let before = client.frames_until(|frame| frame.ends(1)).await;
    assert_eq!(body_of(&before, 1), "WORLD!");

    let predecessor = app.serving_pid();
    app.restart().await;
    let frames = client.frames().await;
    let last = frames.iter().filter_map(Frame::last_stream).next_back();
    assert_eq!(last, Some((1, 0)), "the last GOAWAY names the last stream and no error: {frames:?}");
    assert!(app.exit(predecessor).await.success());
    app.stop().await;
}

/// It does not say that it has seen the server's PING.
#[tokio::test]
async fn an_idle_client_that_pings_holds_no_drain_up() {
    for signal in [Signal::SIGHUP, Signal::SIGTERM] {
        let mut command = Command::new(example("test_declarative"));
        command.env("ENDLESS_IDLE_GRACE", "500ms").env("ENDLESS_HAMMER_TIME", "1h");
        let app = App::start(command);
        let mut client = H2Client::open(app.address().await).await;
        client.get(1, "/hello").await;
        client.frames_until(|frame| frame.ends(1)).await;
        let predecessor = app.serving_pid();
        app.signal(predecessor, signal);
        client.ping_until_ended(Duration::from_millis(50)).await;
        assert!(app.exit(predecessor).await.success());
    }
}

#[tokio::test]
async fn a_stream_in_flight_finishes() {
    let app = App::start(Command::new(example("test_declarative")));
    let mut client = H2Client::open(app.address().await).await;
    // Answered first, so that the connection is accepted before the restart.
    client.get(1, "/hello").await;
    client.frames_until(|frame| frame.ends(1)).await;
    client.get(3, "/sleep?ms=5000").await;
    client.acknowledged().await;

    let predecessor = app.serving_pid();
    app.restart().await;
    let frames = client.frames().await;
    let told = frames.iter().position(|frame| frame.last_stream().is_some());
    let answered = frames.iter().position(|frame| frame.ends(3));
    assert!(told.is_some() && told < answered, "the answer follows the GOAWAY: {frames:?}");
    assert_eq!(body_of(&frames, 3), "slept 5000");
    assert!(app.exit(predecessor).await.success());
    app.stop().await;
}
