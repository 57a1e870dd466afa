//! HTTP/2 connections are told to leave by GOAWAY, and nothing that was asked on them is lost.

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use support::{App, H2Load, example, restarts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

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
    let mut client = Client::open(app.address().await).await;
    client.get(1, "/hello").await;
    let before = client.frames_until(|frame| frame.ends(1)).await;
    assert_eq!(body(&before, 1), "WORLD!");

    let predecessor = app.serving_pid();
    app.restart().await;
    let frames = client.frames().await;
    let last = frames.iter().filter_map(Frame::last_stream).next_back();
    assert_eq!(last, Some((1, 0)), "the last GOAWAY names the last stream and no error: {frames:?}");
    assert!(app.exit(predecessor).await.success());
    app.stop().await;
}

#[tokio::test]
async fn a_stream_in_flight_finishes() {
    let app = App::start(Command::new(example("test_declarative")));
    let mut client = Client::open(app.address().await).await;
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
    assert_eq!(body(&frames, 3), "slept 5000");
    assert!(app.exit(predecessor).await.success());
    app.stop().await;
}

/// The payloads of a stream's DATA frames.
fn body(frames: &[Frame], stream: u32) -> String {
    let data = frames.iter().filter(|frame| frame.kind == DATA && frame.stream == stream);
    let bytes = data.flat_map(|frame| &frame.payload).copied().collect();
    String::from_utf8(bytes).expect("the app answers in UTF-8")
}

// Types and flags of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn ends(&self, stream: u32) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.stream == stream && self.flags & END_STREAM != 0
    }

    /// What a GOAWAY says: the last stream and the error.
    fn last_stream(&self) -> Option<(u32, u32)> {
        let number = |at: usize| u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"));
        (self.kind == GOAWAY).then(|| (number(0), number(4)))
    }
}

/// A client that does what the protocol demands and no more: it closes nothing, so that the server must.
struct Client(TcpStream);

impl Client {
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        let mut client = Self(stream);
        client.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("open");
        client.send(SETTINGS, 0, 0, &[]).await;
        client
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).await.expect("the server reads");
    }

    /// The head by HPACK's static table (RFC 7541, appendix A): GET, http, and the path spelled out.
    async fn get(&mut self, stream: u32, path: &str) {
        let mut head = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).expect("a short path")];
        head.extend(path.as_bytes());
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &head).await;
    }

    /// Waits until the server has read all that was sent so far.
    async fn acknowledged(&mut self) {
        self.send(PING, 0, 0, b"ping now").await;
        self.frames_until(|frame| frame.kind == PING && frame.flags & ACK != 0).await;
    }

    /// All frames up to the server's end of the connection.
    async fn frames(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    async fn frames_until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        while frames.last().is_none_or(|frame| !wanted(frame)) {
            let frame = self.next().await;
            frames.push(frame.unwrap_or_else(|| panic!("closed without the awaited frame after {frames:?}")));
        }
        frames
    }

    /// The next frame, answered where the protocol demands it; None at the orderly end of the connection.
    async fn next(&mut self) -> Option<Frame> {
        let frame = timeout(PATIENCE, self.read()).await.expect("the server says something")?;
        match (frame.kind, frame.flags & ACK) {
            (SETTINGS, 0) => self.send(SETTINGS, ACK, 0, &[]).await,
            (PING, 0) => self.send(PING, ACK, 0, &frame.payload).await,
            _ => {}
        }
        Some(frame)
    }

    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        if self.0.read(&mut head[..1]).await.expect("no reset") == 0 {
            return None;
        }
        self.0.read_exact(&mut head[1..]).await.expect("a whole head");
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.expect("a whole frame");
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }
}
