//! How connections leave at a stop: what is in flight is finished, what idles gets its grace, nothing is
//! reset. After a restart they are the successor's instead, once nothing is in flight.

mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{
    App, Client, Mark, Raw, Response, SIGNALS, alive, example, is_stop, lives_on, moves_or_closes,
    says_close, successor_of, until_busy,
};

/// Longer than any test: what happens within it does not happen because it is over.
const LONG: &str = "1h";

async fn start(idle_grace: &str) -> (App, SocketAddr) {
    let mut command = Command::new(example("test_declarative"));
    command.env("ENDLESS_IDLE_GRACE", idle_grace).env("ENDLESS_HAMMER_TIME", LONG);
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    let address = app.address().await;
    (app, address)
}

/// Stops a process with one connection, until that has been told to leave, and had the time to.
async fn begin_to_stop(app: &App, address: SocketAddr) {
    let mut clock = Client::connect(address).await;
    clock.ask("/until_draining?ms=200").await;
    until_busy(address, 2, 1).await;
    app.signal(app.first_pid(), Signal::SIGTERM);
    assert_last_answer_of(app, &clock.answer().await, "draining");
    clock.closed().await;
}

/// The process has said so.
fn assert_last_answer_of(app: &App, answer: &Response, text: &str) {
    assert_eq!((answer.status, answer.text().as_str(), answer.close), (200, text, true));
    assert_eq!(answer.header("x-pid"), Some(app.first_pid().to_string().as_str()));
}

/// The connection is left open for one more request.
async fn is_answered_once_more(app: &App, mut client: Client) {
    assert!(client.is_quiet());
    assert_last_answer_of(app, &client.get("/hello").await, "WORLD!");
    client.closed().await;
    assert_ends(app).await;
}

/// With nothing left to wait for, the process is gone although its grace is not over.
async fn assert_ends(app: &App) {
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_told_to_close_by_its_next_answer() {
    let (app, address) = start(LONG).await;
    let mut client = Client::connect(address).await;
    assert!(!client.get("/hello").await.close);
    begin_to_stop(&app, address).await;
    is_answered_once_more(&app, client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_nothing_was_sent_is_answered() {
    let (app, address) = start(LONG).await;
    let client = Client::connect(address).await;
    begin_to_stop(&app, address).await;
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
        begin_to_stop(&app, address).await;
        assert!(client.is_quiet());
        client.send("st: test\r\n\r\n").await;
        assert_last_answer_of(&app, &client.answer().await, "WORLD!");
        client.closed().await;
        assert_ends(&app).await;
    }
}

/// Not before it is over, which is longer than the default one, and in an orderly way.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_after_the_grace() {
    let (app, address) = start("3s").await;
    let mut fresh = Client::connect(address).await;
    let mut used = Client::connect(address).await;
    assert!(!used.get("/hello").await.close);
    until_busy(address, 2, 0).await;

    let begun = Instant::now();
    app.signal(app.first_pid(), Signal::SIGTERM);
    for client in [&mut fresh, &mut used] {
        client.closed().await;
        assert!(begun.elapsed() >= Duration::from_secs(3), "closed after {:?}", begun.elapsed());
    }
    assert_ends(&app).await;
}

/// However long their grace would be, the predecessor does not wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_outlive_a_restart() {
    let (app, address) = start(LONG).await;
    let mut clients = Vec::new();
    for (used_before, sent) in [(false, ""), (true, ""), (false, HALF), (true, HALF)] {
        let mut client = Client::connect(address).await;
        if used_before {
            assert!(!client.get("/hello").await.close);
        }
        client.send(sent).await;
        clients.push((client, sent));
    }
    until_busy(address, 4, 0).await;
    let successor = app.restart().await;
    assert_ends(&app).await;
    for (client, sent) in &mut clients {
        assert!(client.is_quiet());
        if *sent == HALF {
            client.send("st: test\r\n\r\n").await;
            assert_eq!(client.answer().await.text(), successor.to_string());
        }
        lives_on(client, successor).await;
    }
}

const HALF: &str = "GET /pid HTTP/1.1\r\nHo";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_takes_longer_than_the_grace_is_finished() {
    for signal in SIGNALS {
        let (app, address) = start("1s").await;
        let mut client = Client::connect(address).await;
        client.ask("/until_draining?ms=1500").await;
        until_busy(address, 1, 1).await;
        app.signal(app.first_pid(), signal);
        let answer = client.answer().await;
        assert_eq!((answer.text().as_str(), answer.close), ("draining", is_stop(signal)));
        assert_eq!(answer.header("x-pid"), Some(app.first_pid().to_string().as_str()));
        moves_or_closes(&app, &mut client, signal).await;
        assert_ends(&app).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_streams_is_finished() {
    for signal in SIGNALS {
        let (app, address) = start("1s").await;
        let mut raw = Raw::connect(address).await;
        raw.send("GET /stream?ms=200 HTTP/1.1\r\nHost: test\r\n\r\n").await;
        raw.until("piece 0\n").await;
        app.signal(app.first_pid(), signal);
        app.wait_for_message(Mark::START, "draining").await;
        let come = raw.until("piece 1\n").await;
        assert!(!come.contains("piece 9\n"), "the drain came too late to show anything");
        let text = raw.take("piece 9\n\r\n0\r\n\r\n").await;
        let pieces = (0..10).map(|piece| format!("8\r\npiece {piece}\n\r\n")).collect::<String>();
        assert!(text.ends_with(&format!("\r\n\r\n{pieces}0\r\n\r\n")), "{text:?}");
        assert!(text.contains(&format!("x-pid: {}\r\n", app.first_pid())), "{text:?}");
        moves_or_closes(&app, &mut raw.into_client(), signal).await;
        assert_ends(&app).await;
    }
}

/// Each of its requests has come when the one before is answered, so that there is always one in flight.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_waits_for_an_answer_outlives_a_restart() {
    let (app, address) = start(LONG).await;
    let mut raw = Raw::connect(address).await;
    let request = "GET /sleep?ms=1 HTTP/1.1\r\nHost: test\r\n\r\n";
    raw.send(&request.repeat(5)).await;
    app.signal(app.first_pid(), Signal::SIGHUP);
    let by_predecessor = format!("x-pid: {}\r\n", app.first_pid());
    let mut since_drain = 0;
    loop {
        let answer = raw.take("slept 1").await;
        assert!(!says_close(&answer), "{answer:?}");
        if !answer.contains(&by_predecessor) {
            break;
        }
        since_drain += u32::from(app.lines().iter().any(|line| line.message() == Some("draining")));
        assert!(since_drain < 1000, "it is still answered by the predecessor");
        raw.send(request).await;
    }
    assert_ends(&app).await;
    for _ in 1..5 {
        raw.take("slept 1").await;
    }
    let line = app.wait_for_message(Mark::START, "handed over").await;
    lives_on(&mut raw.into_client(), successor_of(&line)).await;
}

/// What nobody reads of a body may still come, and is no request: there is nothing that could move.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_last_body_was_not_read_leaves_at_a_restart() {
    let (app, address) = start("1s").await;
    let mut client = Client::connect(address).await;
    client.send(&post("/empty?status=200")).await;
    assert!(!client.answer().await.close);
    until_busy(address, 1, 0).await;
    app.restart().await;
    client.closed().await;
    assert_ends(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_body_that_is_not_read_says_close_at_a_restart() {
    let (app, address) = start(LONG).await;
    let mut client = Client::connect(address).await;
    client.send(&post("/large_when_draining")).await;
    until_busy(address, 1, 1).await;
    app.restart().await;
    assert!(client.answer().await.close);
    client.closed().await;
    assert_ends(&app).await;
}

fn post(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nwhole")
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_is_told_to_close_and_not_to_keep_alive() {
    let (app, address) = start(LONG).await;
    let mut raw = Raw::connect(address).await;
    let request = "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    raw.send(request).await;
    let before = raw.take("WORLD!").await.to_lowercase();
    assert!(before.contains("\r\nconnection: keep-alive\r\n"), "{before:?}");

    begin_to_stop(&app, address).await;
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
    // Longer than a connection that idles in a stop would live.
    let mut idle = Client::connect(address).await;
    assert_eq!(idle.get("/sleep?ms=1500").await.header("x-pid"), Some(successor.to_string().as_str()));
    raw.send("two ").await;
    raw.until("two ").await;
    assert!(alive(app.first_pid()));

    drop(raw);
    assert_ends(&app).await;
    app.stop().await;
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
