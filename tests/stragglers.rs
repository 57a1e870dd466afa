//! Clients that hold a drain up, or do not: one that answers nothing is waited for as an idle one is, and one
//! whose request is answered but still read is waited for to the end.

mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{
    ACK, App, Client, GOAWAY, Line, Mark, PATIENCE, PREFACE, SETTINGS, example, frame, get, patiently,
    until_busy,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const GRACE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http2_that_answers_nothing_gets_the_grace_of_an_idle_one() {
    for signal in [Signal::SIGHUP, Signal::SIGTERM] {
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
    let (app, address) = start().await;
    let mut client = half_sent("/early", address).await;
    assert_eq!(client.answer().await.text(), "early");
    let (mut busy, mut idle) = (half_sent("/upload", address).await, Client::connect(address).await);
    until_busy(address, 3, 1).await;
    app.restart().await;
    grace_is_over(&mut idle, address).await;
    is_read_to_its_end(&app, &mut client, &mut busy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_answered_during_the_drain_is_read_to_its_end() {
    let (app, address) = start().await;
    let mut client = half_sent("/early?draining", address).await;
    let (mut busy, mut idle) = (half_sent("/upload", address).await, Client::connect(address).await);
    until_busy(address, 3, 2).await;
    app.restart().await;
    let answer = client.answer().await;
    assert_eq!((answer.text().as_str(), answer.close), ("early", true));
    grace_is_over(&mut idle, address).await;
    is_read_to_its_end(&app, &mut client, &mut busy).await;
}

/// An upload of ten bytes, of which five were sent.
async fn half_sent(path: &str, address: SocketAddr) -> Client {
    let mut client = Client::connect(address).await;
    client.send(&format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nfirst")).await;
    client
}

/// An idle connection was closed, and whatever else was to be had the time to.
async fn grace_is_over(idle: &mut Client, address: SocketAddr) {
    idle.closed().await;
    assert_eq!(get(address, "/sleep?ms=500").await.text(), "slept 500");
}

/// The task that reads the upload is not the server's to wait for, so `busy`, another upload, holds the
/// process.
async fn is_read_to_its_end(app: &App, client: &mut Client, busy: &mut Client) {
    assert!(client.is_quiet(), "closed in the middle of the upload");
    client.send("final").await;
    let line = app.wait_for(Mark::START, |line| line.text.contains("app: upload"), PATIENCE).await;
    assert_eq!(line.text, "INFO app: upload finished bytes=10");
    client.closed().await;

    busy.send("final").await;
    assert_eq!(busy.answer().await.status, 200);
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    assert!(!app.lines().iter().any(|line: &Line| line.text.contains("Hammer Time")));
    app.stop().await;
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
