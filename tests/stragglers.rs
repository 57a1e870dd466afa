//! Clients that hold a drain up, or do not: one that answers nothing is waited for as an idle one is, and one
//! whose request is answered but still read is waited for to the end.

mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{
    ACK, App, Client, GOAWAY, Line, Mark, PATIENCE, PREFACE, SETTINGS, SIGNALS, example, frame, is_stop,
    moves_or_closes, patiently, until_busy,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const GRACE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http2_that_answers_nothing_gets_the_grace_of_an_idle_one() {
    for signal in SIGNALS {
        let (app, address) = start().await;
        let mut silent = silent_client(address).await;
        let begun = Instant::now();
        app.signal(app.first_pid(), signal);
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
        let took = begun.elapsed();
        assert!(took >= GRACE, "closed after {took:?}");

        let mut rest = Vec::new();
        patiently(silent.read_to_end(&mut rest)).await.expect("an orderly end");
        assert!(types(&rest).contains(&GOAWAY), "it was not told to leave: {rest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_answered_before_the_drain_is_read_to_its_end() {
    for signal in SIGNALS {
        let (app, address) = start().await;
        let mut client = half_sent("/early", address).await;
        assert_eq!(client.answer().await.text(), "early");
        let busy = drain_beyond_the_grace(&app, address, 0, signal).await;
        is_read_to_its_end(&app, client, busy, signal).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_answered_during_the_drain_is_read_to_its_end() {
    for signal in SIGNALS {
        let (app, address) = start().await;
        let mut client = half_sent("/early?draining", address).await;
        let busy = drain_beyond_the_grace(&app, address, 1, signal).await;
        let answer = client.answer().await;
        assert_eq!((answer.text().as_str(), answer.close), ("early", is_stop(signal)));
        is_read_to_its_end(&app, client, busy, signal).await;
    }
}

/// An upload of ten bytes, of which five were sent.
async fn half_sent(path: &str, address: SocketAddr) -> Client {
    let mut client = Client::connect(address).await;
    client.send(&format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nfirst")).await;
    client
}

/// Beside a client with so many requests in flight, one whose upload holds the process: the task that reads an
/// upload is not the server's to wait for. Returns that one when an idle connection would be closed, and
/// whatever else was to be had the time to.
async fn drain_beyond_the_grace(app: &App, address: SocketAddr, in_flight: u64, signal: Signal) -> Client {
    let (busy, mut clock) = (half_sent("/upload", address).await, Client::connect(address).await);
    clock.ask(&format!("/until_draining?ms={}", (GRACE * 3 / 2).as_millis())).await;
    until_busy(address, 3, in_flight + 2).await;
    app.signal(app.first_pid(), signal);
    assert_eq!(clock.answer().await.text(), "draining");
    busy
}

async fn is_read_to_its_end(app: &App, mut client: Client, mut busy: Client, signal: Signal) {
    assert!(client.is_quiet(), "closed in the middle of the upload");
    client.send("final").await;
    let line = app.wait_for(Mark::START, |line| line.text.contains("app: upload"), PATIENCE).await;
    assert_eq!(line.text, "INFO app: upload finished bytes=10");
    moves_or_closes(app, &mut client, signal).await;

    busy.send("final").await;
    assert_eq!(busy.answer().await.status, 200);
    moves_or_closes(app, &mut busy, signal).await;
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    assert!(!app.lines().iter().any(|line: &Line| line.text.contains("Hammer Time")));
}

async fn start() -> (App, SocketAddr) {
    let mut command = Command::new(example("test_declarative"));
    command.env("ENDLESS_IDLE_GRACE", format!("{}s", GRACE.as_secs())).env("ENDLESS_HAMMER_TIME", "1h");
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    let address = app.address().await;
    (app, address)
}

/// It sends the preface and its settings, hears the server's, and falls silent.
async fn silent_client(address: SocketAddr) -> TcpStream {
    let mut stream = patiently(TcpStream::connect(address)).await.expect("the server takes connections");
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.expect("the server reads");
    // Its settings, and that it has heard ours.
    while heard(&mut stream).await != (SETTINGS, 0) {}
    while heard(&mut stream).await != (SETTINGS, ACK) {}
    stream
}

/// The type and the flags of the next frame.
async fn heard(stream: &mut TcpStream) -> (u8, u8) {
    let mut head = [0; 9];
    patiently(stream.read_exact(&mut head)).await.expect("the server answers");
    let mut payload = vec![0; length(&head)];
    patiently(stream.read_exact(&mut payload)).await.expect("the frame is whole");
    (head[3], head[4])
}

/// Of the frames in these bytes.
fn types(mut bytes: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        types.push(head[3]);
        bytes = &rest[length(head)..];
    }
    types
}

/// Of a frame without its head.
fn length(head: &[u8; 9]) -> usize {
    u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize
}
