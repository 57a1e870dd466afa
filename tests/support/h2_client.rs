//! A load over HTTP/2 with prior knowledge. It retries what RFC 9113 says was not processed, streams above
//! the last stream id of a GOAWAY (section 6.8) and refused ones (8.7), and counts everything else that fails
//! as lost.

use std::io::{self, Cursor};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use h2::client::{ResponseFuture, SendRequest};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::h2_frames::GOAWAY;
use super::pipe::Pipe;
use super::running::{Running, Stop, Tally};
use super::secure::Secure;

const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);

/// No request of these tests has a body; h2 wants to know its type nevertheless.
type NoBody = Cursor<Vec<u8>>;

/// A load to be started.
#[derive(Debug, Clone)]
pub(crate) struct H2Load {
    address: SocketAddr,
    connections: usize,
    streams: usize,
    patience: Duration,
    named: bool,
    secure: Option<Secure>,
}

impl H2Load {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let patience = Duration::from_secs(60);
        Self { address, connections: 1, streams: 1, patience, named: true, secure: None }
    }

    pub(crate) fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// How many requests are in flight on each connection, 1 by default.
    pub(crate) fn streams(mut self, streams: usize) -> Self {
        self.streams = streams;
        self
    }

    /// How long a request may take before it counts as lost, 60 s by default.
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Speaks TLS.
    pub(crate) fn secure(mut self, secure: &Secure) -> Self {
        self.secure = Some(secure.clone());
        self
    }

    /// Accepts answers that do not name their process by `x-pid`.
    pub(crate) fn unnamed(mut self) -> Self {
        self.named = false;
        self
    }

    /// Spawns one task a stream on the current tokio runtime.
    pub(crate) fn start(self) -> Running {
        let load = Arc::new(self);
        Running::start(|tasks, tally, stop| {
            for number in 0..load.connections {
                let session = Arc::new(Mutex::new(None));
                for _ in 0..load.streams {
                    let (load, session) = (Arc::clone(&load), Arc::clone(&session));
                    let worker = Worker { load, number, session, tally: tally.clone(), stop: stop.clone() };
                    tasks.spawn(worker.run());
                }
            }
        })
    }
}

/// One request after the other, on the connection that it shares with its fellows.
struct Worker {
    load: Arc<H2Load>,
    number: usize,
    session: Arc<Mutex<Option<Session>>>,
    tally: Tally,
    stop: Stop,
}

/// A connection that takes new streams.
#[derive(Clone)]
struct Session {
    requests: SendRequest<NoBody>,
    told: Arc<GoAway>,
    /// The client's.
    port: u16,
}

/// How a request on a stream can end.
enum Ended {
    Answered {
        pid: Option<u32>,
        version: Option<String>,
    },
    /// The connection took no new stream, so nothing was sent.
    NotSent,
    /// The server said that it did not process it.
    NotProcessed,
    Lost(String),
}

impl Worker {
    async fn run(mut self) {
        while !self.stop.is_set() {
            if let Err(what) = self.request().await {
                self.tally.fail(format!("HTTP/2 connection {}: {what}", self.number));
                self.stop.sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }

    /// One request, to its answer or its loss; a retry counts as a request of its own.
    async fn request(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        let connected = timeout(self.load.patience, self.session()).await;
        let session = connected.map_err(|_| format!("not connected within {:?}", self.load.patience))??;
        let outcome = timeout(self.load.patience, self.exchange(&session)).await;
        match outcome.unwrap_or_else(|_| Ended::Lost(format!("no answer within {:?}", self.load.patience))) {
            Ended::Answered { pid, version } => {
                self.count_answer(begun.elapsed(), pid, version);
                Ok(())
            }
            Ended::NotSent => {
                let unannounced = session.told.last_stream_id().is_none();
                if self.leave(&session).await && unannounced {
                    self.tally.update(|report| report.closed_idle += 1);
                }
                Ok(())
            }
            Ended::NotProcessed => {
                self.tally.update(|report| report.retried += 1);
                Ok(())
            }
            Ended::Lost(what) => {
                self.leave(&session).await;
                Err(format!("from port {}: {what}", session.port))
            }
        }
    }

    /// The connection in use, or a new one; its fellows wait meanwhile.
    async fn session(&self) -> Result<Session, String> {
        let mut shared = self.session.lock().await;
        if let Some(session) = &*shared {
            return Ok(session.clone());
        }
        let opened = Session::open(self.load.address, self.load.secure.as_ref(), self.tally.clone()).await;
        let session = opened.map_err(|error| {
            // What was to be sent on it is lost: this client retries nothing by itself.
            self.tally.update(|report| report.requests += 1);
            format!("cannot connect: {error}")
        })?;
        Ok(shared.insert(session).clone())
    }

    /// The connection takes no more streams; those under way go on. True for the first of the fellows to say
    /// so.
    async fn leave(&self, session: &Session) -> bool {
        let mut shared = self.session.lock().await;
        let is_first = shared.take_if(|current| Arc::ptr_eq(&current.told, &session.told)).is_some();
        if is_first {
            self.tally.update(|report| report.reconnects += 1);
        }
        is_first
    }

    async fn exchange(&self, session: &Session) -> Ended {
        let Ok(mut requests) = session.requests.clone().ready().await else {
            return Ended::NotSent;
        };
        let request = Request::get(format!("http://{}/hello", self.load.address))
            .body(())
            .expect("a well-formed request");
        let Ok((response, _)) = requests.send_request(request, true) else {
            return Ended::NotSent;
        };
        drop(requests);
        self.tally.update(|report| report.requests += 1);
        let stream = response.stream_id().as_u32();
        match answer(response).await {
            Ok(response) => {
                self.check(&response).unwrap_or_else(|what| Ended::Lost(format!("stream {stream}: {what}")))
            }
            Err(error) if session.told.did_not_process(stream) || is_refused(&error) => Ended::NotProcessed,
            Err(error) => Ended::Lost(format!("stream {stream}: {error}; {}", session.told)),
        }
    }

    fn check(&self, response: &Response<Vec<u8>>) -> Result<Ended, String> {
        if response.status() != 200 || response.body() != b"WORLD!" {
            let body = String::from_utf8_lossy(response.body());
            return Err(format!("status {}, body {body:?}, promised was \"WORLD!\"", response.status()));
        }
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let pid = header("x-pid").map(str::parse).transpose().map_err(|_| "x-pid is no PID")?;
        if pid.is_none() && self.load.named {
            return Err("no x-pid in the answer".to_owned());
        }
        Ok(Ended::Answered { pid, version: header("x-version").map(str::to_owned) })
    }

    fn count_answer(&self, latency: Duration, pid: Option<u32>, version: Option<String>) {
        self.tally.update(|report| {
            report.answered += 1;
            report.latencies.add(latency);
            if let Some(pid) = pid {
                *report.pids.entry(pid).or_default() += 1;
            }
            if let Some(version) = version {
                *report.versions.entry(version).or_default() += 1;
            }
        });
    }
}

impl Session {
    async fn open(address: SocketAddr, secure: Option<&Secure>, tally: Tally) -> io::Result<Self> {
        let stream = Pipe::open(address, secure).await?;
        let port = stream.local()?.port();
        let told = Arc::new(GoAway::default());
        let sniffer = Sniffer { stream, frames: Frames::default(), told: Arc::clone(&told), tally };
        let named = |error| io::Error::other(format!("from port {port}: {error}"));
        let (requests, connection) = h2::client::Builder::new().handshake(sniffer).await.map_err(named)?;
        // It ends with the last stream of the connection; what its error means for them, they report.
        tokio::spawn(connection);
        Ok(Self { requests, told, port })
    }
}

async fn answer(response: ResponseFuture) -> Result<Response<Vec<u8>>, h2::Error> {
    let (head, mut incoming) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = incoming.data().await.transpose()? {
        body.extend_from_slice(&data);
        incoming.flow_control().release_capacity(data.len())?;
    }
    Ok(Response::from_parts(head, body))
}

fn is_refused(error: &h2::Error) -> bool {
    error.is_reset() && error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM)
}

/// The last stream id that the server named, 31 bits, or `NOT_TOLD`. The crate h2 knows it, but does not
/// tell.
#[derive(Debug)]
struct GoAway(AtomicU64);

const NOT_TOLD: u64 = u64::MAX;

impl Default for GoAway {
    fn default() -> Self {
        Self(AtomicU64::new(NOT_TOLD))
    }
}

impl GoAway {
    fn last_stream_id(&self) -> Option<u32> {
        u32::try_from(self.0.load(Ordering::Acquire)).ok()
    }

    fn did_not_process(&self, stream: u32) -> bool {
        self.last_stream_id().is_some_and(|last| stream > last)
    }
}

impl std::fmt::Display for GoAway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.last_stream_id() {
            Some(last) => write!(f, "GOAWAY with last stream {last}"),
            None => write!(f, "no GOAWAY"),
        }
    }
}

/// The connection's socket, which reads along for GOAWAY frames.
struct Sniffer {
    stream: Pipe,
    frames: Frames,
    told: Arc<GoAway>,
    tally: Tally,
}

impl Sniffer {
    fn note(&mut self, bytes: &[u8]) {
        let Self { frames, told, tally, .. } = self;
        frames.read(bytes, |last_stream_id, code| {
            let before = told.0.swap(u64::from(last_stream_id), Ordering::AcqRel);
            if before == NOT_TOLD {
                tally.update(|report| report.told_to_close += 1);
            }
            if u64::from(last_stream_id) > before {
                tally.fail(format!("GOAWAY raised its last stream id from {before} to {last_stream_id}"));
            }
            if code != 0 {
                tally.fail(format!("GOAWAY with error {:?}", h2::Reason::from(code)));
            }
        });
    }
}

/// Cuts the incoming bytes into frames, of which it keeps the first bytes only.
#[derive(Debug, Default)]
struct Frames {
    /// The frame's header (RFC 9113, section 4.1: 24 bits length, type, flags, stream) and, of a GOAWAY, its
    /// two numbers.
    start: Vec<u8>,
    /// What is left of a payload that is not looked at.
    skip: usize,
}

const HEADER: usize = 9;

impl Frames {
    fn read(&mut self, mut bytes: &[u8], mut go_away: impl FnMut(u32, u32)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            bytes = &bytes[skipped..];
            self.skip -= skipped;
            let Some((byte, rest)) = bytes.split_first() else {
                return;
            };
            self.start.push(*byte);
            bytes = rest;

            let [a, b, c, kind, .., w0, w1, w2, w3, e0, e1, e2, e3] = self.padded();
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            let wanted = if kind == GOAWAY && length >= 8 { HEADER + 8 } else { HEADER };
            if self.start.len() < HEADER || self.start.len() < wanted {
                continue;
            }
            if wanted > HEADER {
                go_away(u32::from_be_bytes([w0 & 0x7F, w1, w2, w3]), u32::from_be_bytes([e0, e1, e2, e3]));
            }
            self.skip = HEADER + length - wanted;
            self.start.clear();
        }
    }

    fn padded(&self) -> [u8; HEADER + 8] {
        std::array::from_fn(|at| self.start.get(at).copied().unwrap_or(0))
    }
}

impl AsyncRead for Sniffer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.note(&buffer.filled()[before..]);
        read
    }
}

impl AsyncWrite for Sniffer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
