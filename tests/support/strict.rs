//! The strict client: it sends what it was told to, compares what comes back, and retries nothing, ever. What
//! a user would notice of a restart is a failure here, the keep-alive race included.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::http1::{Connection, Fault, Response};
use super::pipe::Idle;
use super::random::Random;
use super::running::{Running, Stop, Tally};
use super::secure::Secure;

/// After a failure, so that a dead server is not hammered by a busy loop.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);
/// An upload goes out in pieces of this size.
const PIECE: usize = 16 * 1024;

/// What each connection of a load does, again and again.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Connect, GET /hello with `Connection: close`, read to the end of the connection.
    Fresh,
    /// GET /hello on one connection, pausing between the requests.
    KeepAlive { think: RangeInclusive<Duration> },
    /// GET of a path that takes its time (`/sleep?ms=2000`), on one connection.
    Slow { path: String },
    /// POST /upload of a patterned body in pieces, on one connection.
    Upload { bytes: usize },
    /// GET /hello and POST /upload in turns on one connection, pausing between the requests.
    Both { think: RangeInclusive<Duration>, bytes: usize },
    /// Connect, send nothing, close after a while. A server that refuses, resets or closes first has failed.
    Bare { think: RangeInclusive<Duration> },
}

/// A load to be started.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    address: SocketAddr,
    kind: Kind,
    connections: usize,
    reuse: bool,
    stays: bool,
    pace: Duration,
    patience: Duration,
    seed: u64,
    named: bool,
    secure: Option<Secure>,
}

impl Load {
    pub(crate) fn new(address: SocketAddr, kind: Kind) -> Self {
        let reuse = !matches!(kind, Kind::Fresh | Kind::Bare { .. });
        let patience = Duration::from_secs(60);
        let pace = Duration::ZERO;
        let (stays, named, secure) = (false, true, None);
        Self { address, kind, connections: 1, reuse, stays, pace, patience, seed: 1, named, secure }
    }

    /// How many connections work at the same time, 1 by default.
    pub(crate) fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Each request gets a connection of its own and says `Connection: close`, whatever the kind.
    pub(crate) fn fresh(mut self) -> Self {
        self.reuse = false;
        self
    }

    /// Connections that must outlive every restart: one that the server closes, or says that it will close,
    /// is a failure.
    pub(crate) fn staying(mut self) -> Self {
        self.stays = true;
        self
    }

    /// Pauses between the pieces of an upload, so that it is long enough in flight to meet a restart.
    pub(crate) fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// How long a request may take before it counts as lost, 60 s by default.
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Starts the think times at another point of the sequence.
    pub(crate) fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Speaks TLS; an end without close_notify is a failure.
    pub(crate) fn secure(mut self, secure: &Secure) -> Self {
        self.secure = Some(secure.clone());
        self
    }

    /// Accepts answers that do not name their process by `x-pid`, as those of other servers.
    pub(crate) fn unnamed(mut self) -> Self {
        self.named = false;
        self
    }

    /// Spawns one task a connection on the current tokio runtime.
    pub(crate) fn start(self) -> Running {
        let load = Arc::new(self);
        Running::start(|tasks, tally, stop| {
            for number in 0..load.connections {
                let client = Client::new(Arc::clone(&load), number, tally.clone(), stop.clone());
                tasks.spawn(client.run());
            }
        })
    }
}

/// One connection after the other, one request after the other.
struct Client {
    load: Arc<Load>,
    number: usize,
    /// In turns.
    orders: VecDeque<Order>,
    random: Random,
    tally: Tally,
    stop: Stop,
    kept: Option<Kept>,
}

/// A connection that has answered and stays open.
struct Kept {
    connection: Connection,
    pid: Option<u32>,
}

impl Client {
    fn new(load: Arc<Load>, number: usize, tally: Tally, stop: Stop) -> Self {
        let orders = Order::all(&load, number);
        let random = Random::seeded(load.seed.wrapping_mul(1 << 32).wrapping_add(number as u64));
        Self { load, number, orders, random, tally, stop, kept: None }
    }

    async fn run(mut self) {
        let load = Arc::clone(&self.load);
        let mut go_on = !self.stop.is_set();
        while go_on {
            go_on = match &load.kind {
                Kind::Bare { think } => self.bare_connect(think).await,
                Kind::KeepAlive { think } | Kind::Both { think, .. } => {
                    self.request().await && self.think(think).await
                }
                Kind::Fresh | Kind::Slow { .. } | Kind::Upload { .. } => self.request().await,
            };
        }
    }

    async fn think(&mut self, think: &RangeInclusive<Duration>) -> bool {
        let pause = self.random.duration(think);
        self.stop.sleep(pause).await
    }

    /// False when it is time to stop.
    async fn request(&mut self) -> bool {
        let kept = self.usable();
        self.tally.update(|report| report.requests += 1);
        let begun = Instant::now();
        let outcome = timeout(self.load.patience, self.exchange(kept, begun)).await;
        match outcome.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.load.patience))) {
            Ok(()) => {
                self.orders.rotate_left(1);
                !self.stop.is_set()
            }
            Err(what) => self.fail(&what).await,
        }
    }

    /// The kept connection, if the server has not closed it meanwhile. Nothing comes between this look and
    /// the request's first byte but this client's own code: a server that closes in between loses the
    /// request.
    fn usable(&mut self) -> Option<Kept> {
        let kept = self.kept.take()?;
        match kept.connection.idle() {
            Idle::Open => return Some(kept),
            Idle::Closed => {
                self.tally.update(|report| report.closed_idle += 1);
                if self.load.stays {
                    let port = kept.connection.local_port();
                    self.tally
                        .fail(format!("connection {}, from port {port}: closed while idle", self.number));
                }
            }
            Idle::Broken(what) => {
                let port = kept.connection.local_port();
                self.tally.fail(format!("connection {}, from port {port} while idle: {what}", self.number));
            }
        }
        self.tally.update(|report| report.reconnects += 1);
        None
    }

    async fn exchange(&mut self, kept: Option<Kept>, begun: Instant) -> Result<(), String> {
        let (mut connection, last_pid) = match kept {
            Some(kept) => (kept.connection, kept.pid),
            None => (self.connect().await?, None),
        };
        let port = connection.local_port();
        let used = if last_pid.is_some() { "used" } else { "new" };
        let name = |fault: Fault| format!("on a {used} connection from port {port}: {fault}");

        self.send(&mut connection).await.map_err(|error| name(Fault::Io { error, received: 0 }))?;
        let response = connection.response().await.map_err(name)?;
        let latency = begun.elapsed();
        let pid = self
            .check(&response)
            .map_err(|what| format!("on a {used} connection from port {port}: {what}"))?;
        let told_to_close = response.close && self.load.reuse;
        if told_to_close && self.load.stays {
            let pid = pid.unwrap_or_default();
            self.tally.fail(format!("on a {used} connection from port {port}: told to close by {pid}"));
        }
        if response.close || !self.load.reuse {
            connection.closed().await.map_err(|fault| format!("{} (after the answer)", name(fault)))?;
        } else {
            self.kept = Some(Kept { connection, pid });
        }
        self.tally.update(|report| {
            report.answered += 1;
            report.latencies.add(latency);
            report.told_to_close += u64::from(told_to_close);
            report.reconnects += u64::from(told_to_close);
            report.moved += u64::from(last_pid.is_some() && last_pid != pid);
            if let Some(pid) = pid {
                *report.pids.entry(pid).or_default() += 1;
                if self.load.reuse {
                    report.pids_of.entry(port).or_default().insert(pid);
                }
            }
            if let Some(version) = response.header("x-version") {
                *report.versions.entry(version.to_owned()).or_default() += 1;
            }
        });
        Ok(())
    }

    async fn connect(&self) -> Result<Connection, String> {
        let connection = Connection::open_over(self.load.address, self.load.secure.as_ref()).await;
        connection.map_err(|error| format!("cannot connect: {error}"))
    }

    async fn send(&self, connection: &mut Connection) -> std::io::Result<()> {
        let order = self.order();
        connection.send(order.head.as_bytes()).await?;
        for (number, piece) in order.body.chunks(PIECE).enumerate() {
            if number > 0 && !self.load.pace.is_zero() {
                tokio::time::sleep(self.load.pace).await;
            }
            connection.send(piece).await?;
        }
        Ok(())
    }

    /// What is asked now.
    fn order(&self) -> &Order {
        &self.orders[0]
    }

    /// The answer must be the promised one, and says which process gave it.
    fn check(&self, response: &Response) -> Result<Option<u32>, String> {
        let body = response.text();
        let promise = &self.order().promise;
        if response.status != 200 || body != *promise {
            let body: String = body.chars().take(200).collect();
            return Err(format!("status {}, body {body:?}, promised was {promise:?}", response.status));
        }
        match response.header("x-pid").map(str::parse) {
            Some(Ok(pid)) => Ok(Some(pid)),
            Some(Err(_)) => Err("x-pid is no PID".to_owned()),
            None if self.load.named => Err("no x-pid in the answer".to_owned()),
            None => Ok(None),
        }
    }

    /// False when it is time to stop.
    async fn bare_connect(&mut self, think: &RangeInclusive<Duration>) -> bool {
        self.tally.update(|report| report.requests += 1);
        let begun = Instant::now();
        let connection = match timeout(self.load.patience, self.connect()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(what)) => return self.fail(&what).await,
            Err(_) => {
                return self.fail(&format!("not connected within {:?}", self.load.patience)).await;
            }
        };
        let latency = begun.elapsed();
        let wait = self.random.duration(think);
        // The kernel tells a reset once, so what the wait has seen must not be asked for again.
        let (seen, go_on) = tokio::select! {
            ended = connection.end_of_quiet() => (ended, true),
            go_on = self.stop.sleep(wait) => (connection.idle(), go_on),
        };
        let port = connection.local_port();
        match seen {
            Idle::Open => self.tally.update(|report| {
                report.answered += 1;
                report.latencies.add(latency);
            }),
            Idle::Closed => {
                return self.fail(&format!("the server closed the connection from port {port} first")).await;
            }
            Idle::Broken(what) => {
                return self.fail(&format!("the connection from port {port}: {what}")).await;
            }
        }
        go_on
    }

    /// Counts the failure and pauses; false when it is time to stop.
    async fn fail(&mut self, what: &str) -> bool {
        self.tally.fail(format!("connection {}, {}: {what}", self.number, self.order()));
        self.stop.sleep(PAUSE_AFTER_FAILURE).await
    }
}

/// The request that a connection sends, ready to be written, and the body that must come back.
struct Order {
    head: String,
    body: Vec<u8>,
    promise: String,
}

impl Order {
    /// What a connection of this load asks, in turns.
    fn all(load: &Load, number: usize) -> VecDeque<Self> {
        let get = |path| Self::new(load, "GET", path, Vec::new());
        let upload = |bytes| Self::new(load, "POST", "/upload", pattern(bytes, number));
        match &load.kind {
            Kind::Slow { path } => [get(path)].into(),
            Kind::Upload { bytes } => [upload(*bytes)].into(),
            Kind::Both { bytes, .. } => [get("/hello"), upload(*bytes)].into(),
            Kind::Fresh | Kind::KeepAlive { .. } | Kind::Bare { .. } => [get("/hello")].into(),
        }
    }

    fn new(load: &Load, method: &str, path: &str, body: Vec<u8>) -> Self {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", load.address);
        if method == "POST" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        if !load.reuse {
            head += "Connection: close\r\n";
        }
        let promise = promise(path, &body);
        Self { head: head + "\r\n", body, promise }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.head.split(" HTTP/").next().unwrap_or_default())
    }
}

/// What the test app promises to answer.
pub(crate) fn promise(path: &str, body: &[u8]) -> String {
    match path.split_once("?ms=").unwrap_or((path, "")) {
        ("/hello", _) => "WORLD!".to_owned(),
        ("/sleep", ms) => format!("slept {ms}"),
        ("/upload", _) => format!("received {} {:016x}", body.len(), fnv1a(body)),
        _ => panic!("the test app promises nothing for {path}"),
    }
}

/// FNV-1a of 64 bits: finds a lost, doubled or exchanged piece of an upload.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

/// Differs from connection to connection, so that bytes which reach the wrong one are found.
fn pattern(bytes: usize, number: usize) -> Vec<u8> {
    let mut random = Random::seeded(number as u64);
    std::iter::repeat_with(|| random.next() as u8).take(bytes).collect()
}
