//! Clients at a moderate pace that are watched through a restart. Strict ones: a request that was sent and is
//! not answered has failed, and is not sent again.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Outcome;
use crate::exchange::{self, Head, broken};
use crate::server::PATIENCE;
use crate::streams::on_this_thread;

/// With connections that they keep, and with a new one for each request.
const KEEPING: usize = 28;
const OPENING: usize = 4;

/// From an answer to the next request: some 8,000 requests a second in all.
const THINK_KEEPING: Duration = Duration::from_millis(4);
const THINK_OPENING: Duration = Duration::from_millis(1);

pub(crate) struct Exchange {
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
    /// Who has answered, or what went wrong.
    pub(crate) pid: Result<u32, String>,
}

/// What the clients have seen until now.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) exchanges: Vec<Exchange>,
    /// Kept connections that were closed, or told to close.
    pub(crate) closed: Vec<Instant>,
}

impl Seen {
    pub(crate) fn pids(&self) -> BTreeSet<u32> {
        self.exchanges.iter().filter_map(|exchange| exchange.pid.as_ref().ok().copied()).collect()
    }

    pub(crate) fn failures(&self) -> impl Iterator<Item = &String> {
        self.exchanges.iter().filter_map(|exchange| exchange.pid.as_ref().err())
    }

    /// In milliseconds, of what began in this time and was answered.
    pub(crate) fn latencies(&self, from: Instant, length: Duration) -> Vec<f64> {
        let within = self.exchanges.iter().filter(|exchange| {
            exchange.pid.is_ok() && exchange.begun >= from && exchange.begun < from + length
        });
        within.map(|exchange| (exchange.ended - exchange.begun).as_secs_f64() * 1e3).collect()
    }
}

/// The clients, on a thread of their own.
pub(crate) struct Steady {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Outcome<()>>>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    over: AtomicBool,
}

impl Steady {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || on_this_thread(run(address, of_thread)));
        Self { shared, thread: Some(thread) }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen.lock().expect("no panic")
    }

    /// When the last answer is there.
    pub(crate) fn stop(mut self) -> Outcome<Seen> {
        self.shared.over.store(true, Relaxed);
        let thread = self.thread.take().ok_or("stopped twice")?;
        thread.join().map_err(|_| "a client panicked")??;
        Ok(std::mem::take(&mut *self.seen()))
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.shared.over.store(true, Relaxed);
    }
}

async fn run(address: SocketAddr, shared: Arc<Shared>) -> Outcome<()> {
    let clients = (0..KEEPING + OPENING).map(|number| {
        let (keeps, think) = if number < KEEPING { (true, THINK_KEEPING) } else { (false, THINK_OPENING) };
        let client = Client { address, keeps, kept: None, shared: Arc::clone(&shared) };
        tokio::spawn(client.run(think, think / KEEPING as u32 * number as u32))
    });
    for client in clients.collect::<Vec<_>>() {
        client.await?;
    }
    Ok(())
}

struct Client {
    address: SocketAddr,
    keeps: bool,
    kept: Option<TcpStream>,
    shared: Arc<Shared>,
}

impl Client {
    async fn run(mut self, think: Duration, begin: Duration) {
        tokio::time::sleep(begin).await;
        while !self.shared.over.load(Relaxed) {
            let begun = Instant::now();
            let exchange = tokio::time::timeout(PATIENCE, self.exchange()).await;
            let pid = exchange.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let pid = pid.map_err(|error| error.to_string());
            let exchange = Exchange { begun, ended: Instant::now(), pid };
            self.seen().exchanges.push(exchange);
            tokio::time::sleep(think).await;
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen.lock().expect("no panic")
    }

    async fn exchange(&mut self) -> io::Result<u32> {
        let mut stream = match self.usable()? {
            Some(stream) => stream,
            None => connect(self.address).await?,
        };
        stream.write_all(&exchange::request("/pid", self.keeps)).await?;
        let (head, pid) = read_pid(&mut stream).await?;
        if self.keeps && head.close {
            self.seen().closed.push(Instant::now());
        }
        if self.keeps && !head.close {
            self.kept = Some(stream);
        }
        Ok(pid)
    }

    /// The kept connection, unless the server has closed it: whoever sees that first sends nothing on it.
    fn usable(&mut self) -> io::Result<Option<TcpStream>> {
        let Some(stream) = self.kept.take() else { return Ok(None) };
        // By the kernel itself: what the runtime knows of a connection is as old as its last look.
        match recv(stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN) => Ok(Some(stream)),
            Ok(0) | Err(_) => {
                self.seen().closed.push(Instant::now());
                Ok(None)
            }
            Ok(_) => Err(broken("an answer to no request")),
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn read_pid(stream: &mut TcpStream) -> io::Result<(Head, u32)> {
    let mut answer = Vec::with_capacity(512);
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(head) = Head::parse(&answer)?
            && answer.len() >= head.whole()
        {
            let head = exchange::expect_ok(head)?;
            let pid = std::str::from_utf8(&answer[head.length..]).ok().and_then(|body| body.parse().ok());
            return Ok((head, pid.ok_or_else(|| broken("a body that is no PID"))?));
        }
    }
}
