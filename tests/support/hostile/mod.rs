//! Clients that mean harm: each does one bad thing on each of its connections, again and again until it is
//! told to stop, and tells what the server made of it.

mod flood;
mod frames;
mod http1;
mod http2;
mod sink;
mod slowness;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::time::timeout;

pub(crate) use flood::{Crowd, Silent};
pub(crate) use http1::{Asks, DeafHead, EndlessBody, HugeHead, ManyHeaders, SlowBody, SlowHead};
pub(crate) use http2::{
    Bomb, Continuations, DataFrames, Flood, MadeReset, NoWindow, RapidReset, SlowPreface, SlowStreams,
};
pub(crate) use sink::Sink;
pub(crate) use slowness::{Base, Round, Slowness, Verdict};

use super::process::PATIENCE;

/// Between two connections of an attacker, so that it does not use up the ports of the machine.
const PAUSE: Duration = Duration::from_millis(5);

/// One bad thing.
pub(crate) trait Attack: Clone + Send + 'static {
    /// Does it on one connection, to the end that the server makes of it; many wait for ever.
    fn attack(self, stream: TcpStream) -> impl Future<Output = io::Result<End>> + Send;
}

/// What the server made of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// This status, and then the end of the connection.
    Answered(u16),
    /// HTTP/2's end of the connection, with this error (RFC 9113, section 7).
    GoAway(u32),
    Closed,
    /// Reset.
    Cut,
    /// Not connected, or another error.
    Broken(io::ErrorKind),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Cut,
            kind => Self::Broken(kind),
        }
    }
}

/// RFC 9113, section 7: the peer is generating excessive load.
pub(crate) const ENHANCE_YOUR_CALM: End = End::GoAway(0xb);

/// Attackers at work, on a thread of their own. Dropping them ends their connections at once.
#[derive(Debug)]
pub(crate) struct Attackers {
    runtime: Option<Runtime>,
    seen: Arc<Seen>,
}

impl Attackers {
    /// Attacks over this many connections at a time.
    pub(crate) fn start(attack: impl Attack, address: SocketAddr, connections: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread can be started");
        let seen = Arc::new(Seen::default());
        runtime.spawn(async { yield_to_others() });
        for _ in 0..connections {
            let (attack, seen) = (attack.clone(), Arc::clone(&seen));
            runtime.spawn(async move {
                loop {
                    let end = seen.attacked(attack.clone(), address).await.unwrap_or_else(End::from);
                    seen.update(|outcomes| *outcomes.ended.entry(end).or_default() += 1);
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Self { runtime: Some(runtime), seen }
    }

    /// What has come of them so far.
    pub(crate) fn outcomes(&self) -> Outcomes {
        self.seen.lock().clone()
    }

    /// Waits until the outcomes are as `wanted`.
    ///
    /// # Panics
    ///
    /// After 60 s, with the outcomes.
    pub(crate) async fn until(&self, wanted: impl Fn(&Outcomes) -> bool) {
        let come = async {
            loop {
                let changed = self.seen.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if wanted(&self.seen.lock()) {
                    return;
                }
                changed.await;
            }
        };
        if timeout(PATIENCE, come).await.is_err() {
            panic!("what the test waits for did not come within {PATIENCE:?}: {}", self.outcomes());
        }
    }

    /// Ends all connections, and reports.
    pub(crate) fn stop(self) -> Outcomes {
        self.outcomes()
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        // A test that drops them is within a runtime itself, where nobody may wait for another one.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// An attacker has a machine of its own; here it may only have the time that nobody else wants, or what is
/// measured beside it would be its own work. However nice it is, it would keep a processor for some milliseconds
/// when it has its turn; as one for idle times, it leaves it at once (sched(7)).
fn yield_to_others() {
    let idle = of_this_thread("chrt", &["--idle", "--pid", "0"]);
    if !idle.is_ok_and(|output| output.status.success()) {
        let reniced = renice(19);
        assert!(reniced.is_ok_and(|output| output.status.success()), "renice is on every machine");
    }
}

/// Has a well-behaved client do something, on a thread of its own that gets time whenever it needs some: what is
/// measured is to be the server's work, and this machine's processors are the server's alone only if nobody else
/// waits for them. Where that is not allowed, it waits like others.
pub(crate) async fn on_a_machine_of_its_own<T: Send + 'static>(
    client: impl Future<Output = T> + Send + 'static,
) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a thread can be started");
    let done = runtime.spawn(async {
        let _where_allowed = renice(-20);
        client.await
    });
    let result = done.await;
    runtime.shutdown_background();
    result.expect("no panic")
}

fn renice(nice: i32) -> io::Result<Output> {
    of_this_thread("renice", &["-n", &nice.to_string(), "-p"])
}

/// Has a program do something with this very thread.
fn of_this_thread(program: &str, words: &[&str]) -> io::Result<Output> {
    Command::new(program).args(words).arg(nix::unistd::gettid().to_string()).output()
}

/// What has come of the connections of an attack.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcomes {
    /// Connections that the server still bears with.
    pub(crate) under_way: usize,
    pub(crate) ended: BTreeMap<End, u64>,
}

impl Outcomes {
    pub(crate) fn count(&self, end: End) -> u64 {
        self.ended.get(&end).copied().unwrap_or(0)
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} under way, ended {:?}", self.under_way, self.ended)
    }
}

#[derive(Debug, Default)]
struct Seen {
    outcomes: Mutex<Outcomes>,
    changed: Notify,
}

impl Seen {
    async fn attacked(&self, attack: impl Attack, address: SocketAddr) -> io::Result<End> {
        let stream = connect(address).await?;
        self.update(|outcomes| outcomes.under_way += 1);
        let _under_way = UnderWay(self);
        attack.attack(stream).await
    }

    fn update(&self, change: impl FnOnce(&mut Outcomes)) {
        change(&mut self.lock());
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Outcomes> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts an attack also when its task is ended.
struct UnderWay<'a>(&'a Seen);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.update(|outcomes| outcomes.under_way -= 1);
    }
}

/// With so little room for answers that the server soon sees that nobody reads them.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    socket.connect(address).await
}

/// Takes what it understands out of what a server has said; the end that the server makes, if it tells one.
type Judge = fn(&mut Vec<u8>) -> Option<End>;

/// Sends what `attack` sends until the server has ended it, and reads on to the connection's end.
async fn until_ended<F>(
    stream: TcpStream,
    attack: impl FnOnce(OwnedWriteHalf) -> F,
    judge: Judge,
) -> io::Result<End>
where
    F: Future<Output = io::Result<()>>,
{
    let (mut reader, writer) = stream.into_split();
    let mut heard = Vec::new();
    let ended = tokio::select! {
        // The first write that fails, when the server has gone. What it has said is still to be read.
        _failed = attack(writer) => None,
        end = hear(&mut reader, &mut heard, judge) => Some(end),
    };
    let end = match ended {
        Some(end) => end?,
        // The write has taken the reset's error, so that the next read tells of a mere end.
        None => match hear(&mut reader, &mut heard, judge).await? {
            End::Closed => End::Cut,
            end => end,
        },
    };
    // How the connection itself ends does not matter to somebody who was told why.
    if end != End::Closed {
        tokio::io::copy(&mut reader, &mut tokio::io::sink()).await.ok();
    }
    Ok(end)
}

/// Reads until the server has said that it ends, or simply does.
async fn hear(reader: &mut OwnedReadHalf, heard: &mut Vec<u8>, judge: Judge) -> io::Result<End> {
    loop {
        if let Some(end) = judge(heard) {
            return Ok(end);
        }
        if reader.read_buf(heard).await? == 0 {
            return Ok(End::Closed);
        }
    }
}
