//! The handshake: what comes between accept and the first byte of HTTP, in the connection's own task, so that
//! nobody else waits for a client that takes its time.

use std::future::poll_fn;
use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;
use std::time::Duration;

use http::StatusCode;
use rustls::ServerConnection;
use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use super::info::ConnectInfo;
use super::io::Io;
use super::state::{ConnectionState, Registered};
use super::{Beginning, Past, Protocol};
use crate::listener::Stream;
use crate::log::event;
use crate::tls::{Presented, TlsInfo};

/// Room for the usual ClientHello, which a key share of a post-quantum algorithm makes long.
const FIRST_READ: usize = 2048;

/// What somebody is told who speaks HTTP without TLS.
const SPEAK_TLS: &str = "This port speaks TLS: use https.\n";

/// What the handshakes of one server have in common.
#[derive(Debug)]
pub(crate) struct Handshakes {
    presented: Presented,
    time: Option<Duration>,
    /// For the log.
    address: String,
    /// Whether it was said that somebody speaks plain HTTP here: once, however many do.
    plain_was_noted: AtomicBool,
}

impl Handshakes {
    pub(crate) fn new(presented: Presented, time: Option<Duration>, address: String) -> Self {
        Self { presented, time, address, plain_was_noted: AtomicBool::new(false) }
    }

    fn note_plain(&self) {
        if !self.plain_was_noted.swap(true, Relaxed) {
            event!(WARN, "somebody speaks plain HTTP on a port for TLS", address = self.address);
        }
    }
}

/// Resolves when a connection that is asked to leave has had its grace.
async fn leaves(state: &ConnectionState, idle_grace: Duration) {
    poll_fn(|cx| state.poll_leaving(cx)).await;
    sleep(idle_grace).await;
}

/// A connection over TLS, or none, if it is over.
///
/// One that is asked to leave finishes its handshake if that has begun, and else has its grace for beginning.
pub(super) async fn begin(
    stream: Stream,
    registered: Registered,
    handshakes: &Handshakes,
    idle_grace: Duration,
    info: Option<ConnectInfo>,
) -> Option<(Io, Beginning)> {
    let state = Arc::clone(registered.state());
    state.cannot_move();
    let meeting = meet(stream, handshakes, leaves(&state, idle_grace));
    let met = match handshakes.time {
        // A client that is late has said nothing that could be answered.
        Some(time) => timeout(time, meeting).await.unwrap_or(Met::Nobody),
        None => meeting.await,
    };
    match met {
        Met::Tls(stream) if !handshakes.presented.lets_in(stream.get_ref().1) => {
            tracing::debug!(target: "endless", address = handshakes.address, "a resumed session is not let in");
            Io::new(stream, registered).close().await;
        }
        Met::Tls(stream) => {
            let session = stream.get_ref().1;
            let info = info.map(|info| info.over(TlsInfo::of(session)));
            let beginning = Beginning { past: Past::none(), info, agreed: agreed(session) };
            return Some((Io::new(stream, registered), beginning));
        }
        Met::PlainHttp(stream) => {
            handshakes.note_plain();
            unread(stream, registered).refuse_with(StatusCode::BAD_REQUEST, SPEAK_TLS).await;
        }
        Met::Failed(stream, error) => {
            tracing::debug!(target: "endless", address = handshakes.address, error, "handshake failed");
            // The alert is on its way, and what the client has sent meanwhile must not reset it away.
            unread(stream, registered).close().await;
        }
        Met::Nobody => {}
    }
    None
}

fn agreed(session: &ServerConnection) -> Option<Protocol> {
    match session.alpn_protocol() {
        Some(b"h2") => Some(Protocol::Http2),
        Some(b"http/1.1") => Some(Protocol::Http1),
        _ => None,
    }
}

/// A connection that is about to be closed, of which not everything may have been read.
fn unread(stream: Stream, registered: Registered) -> Io {
    registered.state().received();
    Io::new(stream, registered)
}

/// Who is there.
enum Met {
    Tls(Box<TlsStream<Stream>>),
    /// Somebody who has not heard of TLS.
    PlainHttp(Stream),
    Failed(Stream, String),
    Nobody,
}

async fn meet(mut stream: Stream, handshakes: &Handshakes, left: impl Future<Output = ()>) -> Met {
    let hello = tokio::select! {
        biased;
        hello = hello(&mut stream) => hello,
        () = left => return Met::Nobody,
    };
    match hello {
        Ok(Hello::Tls(accepted)) => {
            let start = StartHandshake::from_parts(*accepted, stream);
            let handshake = in_turn(|| start.into_stream(handshakes.presented.config())).await;
            match handshake.into_fallible().await {
                Ok(stream) => Met::Tls(Box::new(stream)),
                Err((error, stream)) => Met::Failed(stream, error.to_string()),
            }
        }
        Ok(Hello::PlainHttp) => Met::PlainHttp(stream),
        Ok(Hello::Refused(error, alert)) => {
            // Whoever does not read it is not told.
            let _untold = send(&mut stream, alert).await;
            Met::Failed(stream, error.to_string())
        }
        Ok(Hello::None) | Err(_) => Met::Nobody,
    }
}

/// What a client begins with.
enum Hello {
    Tls(Box<Accepted>),
    PlainHttp,
    Refused(rustls::Error, AcceptedAlert),
    None,
}

/// Reads a ClientHello. Until it is whole, the connection costs no more than the memory for it.
async fn hello(stream: &mut Stream) -> io::Result<Hello> {
    let mut acceptor = Acceptor::default();
    let mut bytes = Vec::with_capacity(FIRST_READ);
    let mut is_first = true;
    loop {
        bytes.clear();
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(Hello::None);
        }
        if std::mem::take(&mut is_first) && is_http(&bytes) {
            return Ok(Hello::PlainHttp);
        }
        let mut unread = &bytes[..];
        while !unread.is_empty() {
            acceptor.read_tls(&mut unread)?;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => return Ok(Hello::Tls(Box::new(accepted))),
            Err((error, alert)) => return Ok(Hello::Refused(error, alert)),
        }
    }
}

/// A method's first letter, where TLS has the type of a record, 22 (RFC 8446, section 5.1).
fn is_http(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_uppercase)
}

async fn send(stream: &mut Stream, mut alert: AcceptedAlert) -> io::Result<()> {
    let mut bytes = Vec::new();
    alert.write_all(&mut bytes)?;
    stream.write_all(&bytes).await
}

/// Computes the server's part of a handshake, which takes as long as a signature does: up to a millisecond, ten
/// times as long as many requests.
///
/// No more at a time than there are processors may do so, each after all other tasks that are ready have had their
/// turn. A storm of handshakes thus waits here, in the order of arrival, instead of before every request in the
/// runtime's queue; and with nothing else to do, all processors are theirs. Nobody waits for a client with a turn in
/// hand: what follows the client's answer is a fraction of this, but for certificates of clients.
async fn in_turn<T>(compute: impl FnOnce() -> T) -> T {
    static TURNS: LazyLock<Semaphore> =
        LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, NonZero::get)));
    let _turn = TURNS.acquire().await.expect("it is never closed");
    yield_now().await;
    compute()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Whatever was there first, on the one thread that there is.
    #[tokio::test]
    async fn a_request_need_not_wait_for_a_crowd_that_shakes_hands() {
        let computed = Arc::new(AtomicUsize::new(0));
        let handshakes: Vec<_> = (0..1000)
            .map(|_| {
                let computed = Arc::clone(&computed);
                tokio::spawn(in_turn(move || computed.fetch_add(1, Relaxed)))
            })
            .collect();
        let request = tokio::spawn({
            let computed = Arc::clone(&computed);
            async move { computed.load(Relaxed) }
        });
        assert_eq!(request.await.expect("no panic"), 0);
        for handshake in handshakes {
            handshake.await.expect("no panic");
        }
        assert_eq!(computed.load(Relaxed), 1000);
    }
}
