//! How connections leave at a restart: what is in flight is finished, what idles gets its grace, nothing is
//! reset.

mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{App, Client, Mark, PATIENCE, Raw, Response, alive, example, get, until_busy};

/// Longer than any test: what happens within it does not happen because it is over.
const LONG: &str = "1h";

async fn start(idle_grace: &str) -> (App, SocketAddr) {
    let mut command = Command::new(example("test_declarative"));
    command.env("ENDLESS_IDLE_GRACE", idle_grace);
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    let address = app.address().await;
    (app, address)
}

/// Restarts, until all connections of the predecessor have been told to leave, which is before its post hooks
/// run, and had the time to.
async fn restart(app: &App) {
    app.restart().await;
    app.wait_for(Mark::START, |line| line.text.contains("hook phase=post signal=SIGHUP"), PATIENCE).await;
    assert_eq!(get(app.address().await, "/sleep?ms=200").await.text(), "slept 200");
}

/// The predecessor has said that this is its last answer.
fn assert_last_answer_of(app: &App, answer: &Response) {
    assert_eq!((answer.status, answer.text().as_str(), answer.close), (200, "WORLD!", true));
    assert_eq!(answer.header("x-pid"), Some(app.first_pid().to_string().as_str()));
}

/// The connection is left open for one more request.
async fn is_answered_once_more(app: &App, mut client: Client) {
    assert!(client.is_quiet());
    assert_last_answer_of(app, &client.get("/hello").await);
    client.closed().await;
    assert_ends(app).await;
}

/// With nothing left to wait for, the predecessor is gone although its grace is not over.
async fn assert_ends(app: &App) {
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_told_to_close_by_its_next_answer() {
    let (app, address) = start(LONG).await;
    let mut client = Client::connect(address).await;
    assert!(!client.get("/hello").await.close);
    restart(&app).await;
    is_answered_once_more(&app, client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_nothing_was_sent_is_answered() {
    let (app, address) = start(LONG).await;
    let client = Client::connect(address).await;
    until_busy(address, 1, 0).await;
    restart(&app).await;
    is_answered_once_more(&app, client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_half_sent_is_answered_when_it_is_complete() {
    for used_before in [false, true] {
        let (app, address) = start(LONG).await;
        let mut client = Client::connect(address).await;
        if used_before {
            assert!(!client.get("/hello").await.close);
        }
        client.send("GET /hello HTTP/1.1\r\nHo").await;
        until_busy(address, 1, 0).await;
        restart(&app).await;
        assert!(client.is_quiet());
        client.send("st: test\r\n\r\n").await;
        assert_last_answer_of(&app, &client.answer().await);
        client.closed().await;
        assert_ends(&app).await;
    }
}

/// At a restart, and at a stop: not before the grace is over, which is longer than the default one, and in an
/// orderly way.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_after_the_grace() {
    for stopped in [false, true] {
        let (app, address) = start("3s").await;
        let mut fresh = Client::connect(address).await;
        let mut used = Client::connect(address).await;
        assert!(!used.get("/hello").await.close);
        until_busy(address, 2, 0).await;

        let begun = Instant::now();
        let signal = if stopped { Signal::SIGTERM } else { Signal::SIGHUP };
        app.signal(app.first_pid(), signal);
        for client in [&mut fresh, &mut used] {
            client.closed().await;
            assert!(begun.elapsed() >= Duration::from_secs(3), "closed after {:?}", begun.elapsed());
        }
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_takes_longer_than_the_grace_is_finished() {
    let (app, address) = start("2s").await;
    let mut client = Client::connect(address).await;
    client.ask("/sleep?ms=2500").await;
    until_busy(address, 1, 1).await;
    app.restart().await;
    let answer = client.answer().await;
    assert_eq!((answer.text().as_str(), answer.close), ("slept 2500", true));
    client.closed().await;
    assert_ends(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_streams_is_finished() {
    let (app, address) = start("1s").await;
    let mut raw = Raw::connect(address).await;
    raw.send("GET /stream?ms=200 HTTP/1.1\r\nHost: test\r\n\r\n").await;
    raw.until("piece 0\n").await;
    app.restart().await;
    assert!(!raw.text.contains("piece 9\n"), "the restart came too late to show anything");
    let text = raw.rest().await;
    let pieces = (0..10).map(|piece| format!("8\r\npiece {piece}\n\r\n")).collect::<String>();
    assert!(text.ends_with(&format!("\r\n\r\n{pieces}0\r\n\r\n")), "{text:?}");
    assert!(text.contains(&format!("x-pid: {}\r\n", app.first_pid())), "{text:?}");
    assert_ends(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_is_told_to_close_and_not_to_keep_alive() {
    let (app, address) = start(LONG).await;
    let mut raw = Raw::connect(address).await;
    let request = "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    raw.send(request).await;
    let before = raw.until("WORLD!").await.to_lowercase();
    assert!(before.contains("\r\nconnection: keep-alive\r\n"), "{before:?}");

    restart(&app).await;
    raw.text.clear();
    raw.send(request).await;
    let after = raw.rest().await.to_lowercase();
    assert!(after.contains("\r\nconnection: close\r\n") && after.ends_with("world!"), "{after:?}");
    assert!(!after.contains("keep-alive"), "{after:?}");
    assert_ends(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_connection_is_counted_and_told_and_lives_until_it_closes() {
    let (app, address) = start("1s").await;
    let mut raw = Raw::upgraded(address).await;
    raw.send("one ").await;
    raw.until("one ").await;
    until_busy(address, 1, 0).await;

    let successor = app.restart().await;
    raw.until("draining\n").await;
    // Longer than an idle connection would live.
    let mut idle = Client::connect(address).await;
    assert_eq!(idle.get("/sleep?ms=1500").await.header("x-pid"), Some(successor.to_string().as_str()));
    raw.send("two ").await;
    raw.until("two ").await;
    assert!(alive(app.first_pid()));

    drop(raw);
    assert_ends(&app).await;
    let hammered = |line: &support::Line| line.text.contains("Hammer Time");
    assert!(!app.lines().iter().any(hammered));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_connection_is_hammered_at_the_end() {
    let mut command = Command::new(example("test_declarative"));
    command.env("ENDLESS_HAMMER_TIME", "1s");
    let app = App::start(command);
    let address = app.address().await;
    let mut raw = Raw::upgraded(address).await;
    let begun = Instant::now();
    app.restart().await;
    raw.until("draining\n").await;
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    assert!(begun.elapsed() >= Duration::from_secs(1), "hammered after {:?}", begun.elapsed());
    let line = app.wait_for_message(Mark::START, "[STOP - Hammer Time] Forcefully shutting down").await;
    assert_eq!(line.field("connections"), Some("1"));
    raw.rest().await;
    app.stop().await;
}
