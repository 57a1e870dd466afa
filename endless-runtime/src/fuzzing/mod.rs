//! What fuzzers drive. Here, one connection in memory and on a clock that stands still, beside bare hyper under
//! the same script; what strangers could send over a channel is in `handover/hostile.rs`. Compiled for tests,
//! which replay the corpus, and for `cargo fuzz` alone.

mod client;
mod local_stream;
mod script;
mod service;
mod silence;
mod verdict;

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Poll, ready};
use std::time::Duration;

use arbitrary::{Arbitrary as _, Unstructured};
use atomic_waker::AtomicWaker;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::config::Limits;
use crate::connection::{self, Arrival, Connections, Past, Registered, Terms};
pub use crate::handover::hostile::{channel, environment};
use crate::listener::Stream;
use crate::lock::lock;
use client::Client;
pub(crate) use local_stream::LocalStream;
use script::{Script, Step};
use service::Service;
use silence::Silence;

/// Small, so that a response waits in hyper's buffers for the client to read.
const PIPE: usize = 1024;
/// Small, so that heads can be too long.
const MAX_HEADER_BYTES: usize = 2048;
/// Shorter than the longest pause.
const IDLE_GRACE: Duration = Duration::from_millis(50);
/// Longer than anything that a service does.
const LONG: Duration = Duration::from_secs(600);

/// Reads a script from these bytes, serves its client twice, and compares.
///
/// # Panics
///
/// If endless does what bare hyper does not, but for what a drain asks of it.
pub fn connection(bytes: &[u8]) {
    let Ok(script) = Script::arbitrary(&mut Unstructured::new(bytes)) else { return };
    // Prior knowledge of HTTP/2 is for endless alone.
    if script.bytes().starts_with(b"PRI ") || begins_as_http2(&script) {
        return;
    }
    let bare = Outcome::of(&script, serve_by_hyper);
    let ours = Outcome::of(&script, serve_by_endless);
    let nudged = Outcome::of(&script, serve_by_hyper_nudged);
    // Hyper may sleep through a pipelined request that it has read, and then whatever wakes it makes a
    // difference.
    if bare.differs_from(&nudged) || bare.has_slept() {
        return;
    }
    if bare.requests.iter().any(|request| request.is_refused) {
        return;
    }
    verdict::compare(&script, &bare, &ours);
}

/// Whether the first bytes may be those of HTTP/2. Endless waits for more, and hyper, which would have looked at
/// them, sees at once what is wrong with those that follow.
fn begins_as_http2(script: &Script) -> bool {
    let sent = script.steps.iter().filter_map(|step| match step {
        Step::Send(text) => Some(text.bytes()),
        _ => None,
    });
    let mut sent = sent.filter(|bytes| !bytes.is_empty());
    sent.next().is_some_and(|first| b"PRI ".starts_with(&first))
}

/// What came of a script.
#[derive(Debug, Default)]
struct Outcome {
    /// What the client got during each step, and in the two at the end: it waits, and then it sends no more.
    received: Vec<String>,
    /// During which of these the server closed.
    closed: Option<usize>,
    requests: Vec<service::Seen>,
    /// The server is done with the connection, though nobody has cut it.
    is_over: bool,
}

/// A connection that is served, and what asks it to leave.
struct Served {
    task: JoinHandle<()>,
    leave: Box<dyn Fn()>,
    /// Polls it once more than it asks for.
    nudge: Box<dyn Fn()>,
}

impl Outcome {
    fn of(script: &Script, serve: fn(DuplexStream, Service) -> Served) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without I/O needs nothing");
        tracing::subscriber::with_default(Silence, || runtime.block_on(Self::play(script, serve)))
    }

    async fn play(script: &Script, serve: fn(DuplexStream, Service) -> Served) -> Self {
        let (near, far) = tokio::io::duplex(PIPE);
        let seen = Arc::new(Mutex::default());
        let served = serve(far, Service::new(&script.answers, &seen));
        let mut outcome = Self::default();
        let mut client = Client::new(near);
        for step in &script.steps {
            match step {
                Step::Send(text) => client.send(&text.bytes()),
                Step::HalfClose => client.half_close(),
                Step::Leave => (served.leave)(),
                Step::Pause(ms) => {
                    settle(&mut client, &served).await;
                    sleep(Duration::from_millis((*ms).into())).await;
                    settle(&mut client, &served).await;
                }
            }
            outcome.note(&mut client);
        }
        for last in [false, true] {
            if last {
                client.half_close();
            }
            settle(&mut client, &served).await;
            sleep(LONG).await;
            // An answer that is longer than the pipe comes in as many pieces.
            while client.read() || client.can_write() {
                settle(&mut client, &served).await;
                sleep(LONG).await;
            }
            settle(&mut client, &served).await;
            outcome.note(&mut client);
        }
        // A close lingers.
        sleep(LONG).await;
        outcome.is_over = served.task.is_finished();
        served.task.abort();
        outcome.requests = std::mem::take(&mut *lock(&seen));
        outcome
    }

    fn differs_from(&self, other: &Self) -> bool {
        let mut received = self.received.iter().zip(&other.received);
        self.requests != other.requests
            || received.any(|(one, two)| verdict::without_date(one) != verdict::without_date(two))
    }

    /// Whether there is an answer that only the client's close has brought about.
    fn has_slept(&self) -> bool {
        self.received.last().is_some_and(|last| !last.is_empty())
    }

    fn note(&mut self, client: &mut Client) {
        self.received.push(String::from_utf8_lossy(&client.take_received()).into_owned());
        if client.is_closed() {
            self.closed.get_or_insert(self.received.len() - 1);
        }
    }
}

/// Lets everything happen that can happen now. The clock moves only when every task waits for it.
async fn settle(client: &mut Client, served: &Served) {
    let mut quiet = 0;
    while quiet < 2 {
        (served.nudge)();
        client.write();
        sleep(Duration::from_millis(1)).await;
        quiet = if client.read() || client.can_write() { 0 } else { quiet + 1 };
    }
}

fn serve_by_hyper(io: DuplexStream, service: Service) -> Served {
    Served { nudge: Box::new(|| {}), ..serve_by_hyper_nudged(io, service) }
}

fn serve_by_hyper_nudged(io: DuplexStream, service: Service) -> Served {
    let again = Arc::new(AtomicBool::new(false));
    let service = hyper::service::service_fn({
        let again = Arc::clone(&again);
        move |request| service.clone().answer_or_500(request, Arc::clone(&again))
    });
    let mut builder = Builder::new();
    builder.header_read_timeout(None).max_header_size(MAX_HEADER_BYTES).max_buf_size(8192 + 4096 * 100);
    let mut connection = builder.serve_connection(TokioIo::new(io), service);
    let mut is_done = false;
    let waker = Arc::new(AtomicWaker::new());
    let nudge = Box::new({
        let waker = Arc::clone(&waker);
        move || waker.wake()
    });
    let task = tokio::spawn(poll_fn(move |cx| {
        waker.register(cx.waker());
        // If a request has asked to upgrade, hyper may be done before the last answer is written, and goes on
        // when it is asked again.
        let mut ended = Pin::new(&mut connection).poll(cx);
        if ended.is_pending() && again.load(Relaxed) {
            ended = Pin::new(&mut connection).poll(cx);
        }
        let result = ready!(ended);
        if result.is_err() || std::mem::replace(&mut is_done, true) {
            return Poll::Ready(());
        }
        Pin::new(&mut connection).poll(cx).map(drop)
    }));
    Served { task, leave: Box::new(|| {}), nudge }
}

fn serve_by_endless(io: DuplexStream, service: Service) -> Served {
    let registered: Registered = Connections::new(Arc::default()).admit();
    let state = Arc::clone(registered.state());
    let limits = Limits { max_header_bytes: MAX_HEADER_BYTES, ..Limits::default() };
    let terms = Terms { idle_grace: IDLE_GRACE, readiness: None, limits, connect_info: false };
    let service = crate::service_fn(move |request| service.clone().answer(request));
    let arrival = Arrival { stream: Stream::in_memory(io), registered, past: Past::none() };
    let task = connection::serve(arrival, service, Arc::new(terms), None);
    Served { task, leave: Box::new(move || state.leave()), nudge: Box::new(|| {}) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// The corpus is part of the repository, not of the package.
    #[test]
    fn what_the_fuzzer_has_found_stays_found() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/connection");
        let Ok(files) = fs::read_dir(&corpus) else { return };
        let files: Vec<_> = files.map(|file| file.expect("the folder can be read").path()).collect();
        assert!(files.len() > 10, "{} has {} files", corpus.display(), files.len());
        for file in files {
            eprintln!("{}", file.display());
            super::connection(&fs::read(&file).expect("the file can be read"));
        }
    }

    /// What the fuzzer does first, on any compiler.
    #[test]
    fn scripts_at_random_show_no_difference() {
        let count = if std::env::var_os("FULL").is_some() { 100_000 } else { 1_000 };
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = || {
            // Xorshift (Marsaglia, 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..count {
            let length = random() % 512;
            let bytes: Vec<u8> = (0..length).map(|_| random().to_le_bytes()[0]).collect();
            super::connection(&bytes);
        }
    }
}
