//! The tests' program that says what it was asked, and requests to it of which every byte of the answer is
//! known.

use std::net::SocketAddr;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::cargo::example;
use super::client::status_when;
use super::process::{App, Line, Mark, PATIENCE};
use super::raw::Raw;
use super::strict::fnv1a;
use super::wire::{freeze, thaw};

/// What differs from answer to answer.
const TOLD: [&str; 2] = ["x-pid: ", "x-port: "];

/// A request, and the answer without what differs from run to run: PID, port and date.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) request: String,
    pub(crate) answer: String,
    /// How the program tells of the request.
    asked: String,
}

impl Exchange {
    pub(crate) fn get(target: &str) -> Self {
        Self::of("GET", target, "", "").answered("", &seen("GET", target, "", "-"))
    }

    /// With `Connection: close`.
    pub(crate) fn last(target: &str) -> Self {
        let close = "Connection: close\r\n";
        Self::of("GET", target, close, "").answered("connection: close\r\n", &seen("GET", target, "", "-"))
    }

    /// With a length.
    pub(crate) fn post(target: &str, body: &str) -> Self {
        let length = format!("Content-Length: {}\r\n", body.len());
        Self::of("POST", target, &length, body).answered("", &seen("POST", target, body, "-"))
    }

    /// In chunks, and a trailer after them.
    pub(crate) fn chunked(target: &str, chunks: &[&str]) -> Self {
        // An empty one would be the last.
        let chunks: Vec<_> = chunks.iter().copied().filter(|chunk| !chunk.is_empty()).collect();
        let mut coded: String =
            chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
        coded += "0\r\nx-trailer: 12\r\n\r\n";
        let framing = "Transfer-Encoding: chunked\r\nTrailer: x-trailer\r\n";
        Self::of("POST", target, framing, &coded).answered("", &seen("POST", target, &chunks.concat(), "12"))
    }

    /// Any, to which no answer is known yet.
    pub(crate) fn of(method: &str, target: &str, headers: &str, body: &str) -> Self {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{headers}\r\n{body}");
        Self { request, answer: String::new(), asked: format!("{method} {target}") }
    }

    /// With status 200, these headers, a length, and this body.
    pub(crate) fn answered(self, headers: &str, body: &str) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n", body.len());
        self.answered_with(head + body)
    }

    pub(crate) fn answered_with(mut self, answer: impl Into<String>) -> Self {
        self.answer = answer.into();
        self
    }

    /// From where on the server knows what it is asked.
    pub(crate) fn head_length(&self) -> usize {
        self.request.find("\r\n\r\n").expect("a whole request") + 4
    }
}

/// What the program answers with.
pub(crate) fn seen(method: &str, target: &str, body: &str, trailer: &str) -> String {
    format!("{method} {target} {} {:016x} {trailer}", body.len(), fnv1a(body.as_bytes()))
}

/// A client that asks what it has an answer for.
#[derive(Debug)]
pub(crate) struct Talk {
    pub(crate) raw: Raw,
    /// What was or will be sent, and what must come for it.
    exchanges: Vec<Exchange>,
    sent: usize,
}

impl Talk {
    /// Sends on up to this byte of all.
    pub(crate) async fn send_to(&mut self, end: usize) {
        let text = self.text();
        self.raw.send(&text[self.sent..end]).await;
        self.sent = end;
    }

    pub(crate) async fn send_all(&mut self) {
        self.send_to(self.text().len()).await;
    }

    /// Sends on, and the last request not before all others are answered.
    pub(crate) async fn send_last_alone(&mut self) {
        let before_last = self.length_but_last();
        if self.sent < before_last {
            self.send_to(before_last).await;
        }
        if self.exchanges.len() > 1 {
            self.answered(self.exchanges.len() - 2).await;
        }
        self.send_all().await;
    }

    /// Asks the next one alone, and reads its answer.
    pub(crate) async fn ask(&mut self, exchange: usize) {
        self.send_to(self.exchanges[..=exchange].iter().map(|exchange| exchange.request.len()).sum()).await;
        self.answered(exchange).await;
    }

    /// Waits until this one and those before it are answered.
    pub(crate) async fn answered(&mut self, exchange: usize) {
        let expected: usize = self.exchanges[..=exchange].iter().map(|exchange| exchange.answer.len()).sum();
        while untold(&self.raw.text).0.len() < expected {
            assert!(self.raw.more().await, "closed after {:?}", self.raw.text);
        }
    }

    /// Reads to the end: nothing but the answers, in order, from this very port. Returns who gave each.
    pub(crate) async fn ends(&mut self) -> Vec<u32> {
        self.ends_early(0).await
    }

    /// As `ends`, but up to so many of the last answers may be missing; none is cut short.
    pub(crate) async fn ends_early(&mut self, missing: usize) -> Vec<u32> {
        let port = u32::from(self.raw.port());
        let (text, told) = untold(self.raw.rest().await);
        let answers: Vec<_> = self.exchanges.iter().map(|exchange| exchange.answer.as_str()).collect();
        let expected = |missing: usize| answers[..answers.len().saturating_sub(missing)].concat();
        let is_right = (0..=missing).any(|missing| text == expected(missing));
        assert!(is_right, "expected {:?}\n    came {:?}", shortened(&expected(0)), shortened(&text));
        let (ports, pids): (Vec<_>, Vec<_>) = told.into_iter().partition(|(name, _)| *name == TOLD[1]);
        assert!(ports.iter().all(|(_, told)| *told == port), "{ports:?} instead of {port}");
        pids.into_iter().map(|(_, pid)| pid).collect()
    }

    /// Of all requests, in bytes.
    pub(crate) fn length(&self) -> usize {
        self.text().len()
    }

    pub(crate) fn length_but_last(&self) -> usize {
        self.length() - self.exchanges.last().map_or(0, |exchange| exchange.request.len())
    }

    pub(crate) fn length_of_first(&self) -> usize {
        self.exchanges[0].request.len()
    }

    pub(crate) fn length_sent(&self) -> usize {
        self.sent
    }

    fn text(&self) -> String {
        self.exchanges.iter().map(|exchange| exchange.request.as_str()).collect()
    }
}

fn shortened(text: &str) -> &str {
    &text[..text.len().min(5000)]
}

/// Answers without what differs, and what that was.
fn untold(text: &str) -> (String, Vec<(&'static str, u32)>) {
    let (mut rest, mut told) = (String::with_capacity(text.len()), Vec::new());
    for line in text.split_inclusive("\r\n") {
        match TOLD.into_iter().find(|name| line.starts_with(name)) {
            Some(name) => told.push((name, line[name.len()..].trim_end().parse().unwrap_or_default())),
            None if line.starts_with("date: ") => {}
            None => rest.push_str(line),
        }
    }
    (rest, told)
}

/// The program, which remembers all talks with it.
#[derive(Debug)]
pub(crate) struct Mirror {
    pub(crate) app: App,
    pub(crate) address: SocketAddr,
    expected: Vec<String>,
}

impl Mirror {
    pub(crate) async fn start() -> Self {
        let app = App::start(Command::new(example("test_mirror")));
        app.wait_for_message(Mark::START, "serving").await;
        let address = app.address().await;
        Self { app, address, expected: Vec::new() }
    }

    pub(crate) async fn talk(&mut self, exchanges: impl IntoIterator<Item = Exchange>) -> Talk {
        let raw = Raw::connect(self.address).await;
        self.talk_over(raw, exchanges)
    }

    /// With a client for which the kernel keeps little: what it does not read, waits at the server's.
    pub(crate) async fn talk_slowly(&mut self, exchanges: impl IntoIterator<Item = Exchange>) -> Talk {
        let raw = Raw::connect_narrowly(self.address).await;
        self.talk_over(raw, exchanges)
    }

    fn talk_over(&mut self, raw: Raw, exchanges: impl IntoIterator<Item = Exchange>) -> Talk {
        let talk = Talk { raw, exchanges: exchanges.into_iter().collect(), sent: 0 };
        self.expected.extend(talk.exchanges.iter().map(|exchange| exchange.asked.clone()));
        talk
    }

    /// Waits until so many connections are open.
    pub(crate) async fn has_accepted(&self, connections: usize) {
        let open = |status: &Value| status["servers"][0]["connections"].as_u64();
        status_when(self.address, |status| open(status) == Some(connections as u64 + 1)).await;
    }

    /// Waits until the successor has taken so many connections.
    pub(crate) async fn has_taken(&self, connections: usize) {
        let moved = |status: &Value| status["servers"][0]["moved"].as_u64();
        status_when(self.address, |status| moved(status) == Some(connections as u64)).await;
    }

    /// Waits until so many requests have reached a service.
    pub(crate) async fn has_heard(&self, requests: usize) {
        let mut mark = Mark::START;
        for _ in 0..requests {
            mark = self.app.wait_for(mark, |line| asked(line).is_some(), PATIENCE).await.after();
        }
    }

    /// Restarts while the predecessor finds out at once what `meanwhile` has sent and that it should restart.
    pub(crate) async fn restart_upon(&self, meanwhile: impl Future<Output = ()>) -> u32 {
        let predecessor = self.app.serving_pid();
        let mark = self.app.mark();
        freeze(&self.app, predecessor).await;
        meanwhile.await;
        self.app.signal(predecessor, Signal::SIGHUP);
        thaw(&self.app, predecessor);
        let line = self.app.wait_for_message(mark, "handed over").await;
        self.drains(mark).await;
        line.field("successor").and_then(|pid| pid.parse().ok()).expect("it names the successor")
    }

    /// Restarts; when this returns, the predecessor begins no request that had not wholly come, if it does not
    /// have too many connections to ask all at once to move.
    pub(crate) async fn restart(&self) -> u32 {
        let mark = self.app.mark();
        let successor = self.app.restart().await;
        self.drains(mark).await;
        successor
    }

    /// Restarts once so many requests have reached a service; returns the predecessor, which answers them.
    pub(crate) async fn restart_having_heard(&self, requests: usize) -> u32 {
        self.has_heard(requests).await;
        let predecessor = self.app.serving_pid();
        self.restart().await;
        predecessor
    }

    async fn drains(&self, mark: Mark) {
        self.app.wait_for_message(mark, "draining").await;
    }

    /// Stops it, and compares: every request was heard once, and nothing else.
    pub(crate) async fn ends(mut self) {
        self.expected.sort_unstable();
        assert_eq!(self.heard().await, self.expected);
    }

    /// As `ends`, but there may be requests that no service has heard.
    pub(crate) async fn ends_having_missed_some(mut self) {
        for heard in self.heard().await {
            let place = self.expected.iter().position(|expected| *expected == heard);
            self.expected
                .swap_remove(place.unwrap_or_else(|| panic!("{heard} was not asked, or not so often")));
        }
    }

    async fn heard(&self) -> Vec<String> {
        self.app.stop().await;
        self.app.ended().await;
        self.app.all_said().await;
        let lines = self.app.lines();
        assert!(!lines.iter().any(|line| line.text.contains("Hammer Time")), "somebody had to be hammered");
        let mut heard: Vec<_> = lines.iter().filter_map(asked).map(str::to_owned).collect();
        heard.sort_unstable();
        heard
    }
}

/// `METHOD TARGET`, of the line that tells of a request.
fn asked(line: &Line) -> Option<&str> {
    let (_, asked) = line.text.split_once("app: asked ")?;
    asked.rsplit_once(" port=").map(|(asked, _)| asked)
}
