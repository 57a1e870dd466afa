//! Serving one connection: its protocol found out, its requests answered, its leaving when the drain begins.
//!
//! HTTP/1 and HTTP/2 are told apart here rather than by hyper-util, because how a connection leaves differs
//! between the two and needs hyper's connection at hand.

mod crumbs;
mod farewell;
mod frames;
mod heads;
mod http1;
mod http2;
mod info;
mod io;
mod leaving;
mod lent;
mod moving;
mod pace;
mod patience;
mod quiet;
mod refusal;
mod request;
mod responses;
mod state;
mod timer;
#[cfg(feature = "_tls")]
mod tls;
#[cfg(not(feature = "_tls"))]
#[path = "no_tls.rs"]
mod tls;
mod transport;
mod turns;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinHandle;

use crate::config::Limits;
use crate::service::HttpService;
pub(crate) use crumbs::Crumbs;
pub use info::ConnectInfo;
use io::Io;
pub(crate) use moving::{Arrival, Past};
use patience::Patience;
use quiet::{Delay, End, Quiet};
#[cfg(any(test, fuzzing))]
pub(crate) use refusal::refusal;
use request::Requests;
pub(crate) use state::{Acceptor, Connections, Idlers, Occupancy, Reading, Registered, Totals};
pub(crate) use timer::Timer;
pub(crate) use tls::Handshakes;

/// What every HTTP/2 connection with prior knowledge begins with (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a server's connections are served under, all alike.
#[derive(Debug)]
pub(crate) struct Terms {
    /// How long a connection stays open when it is asked to leave while idle.
    pub(crate) idle_grace: Duration,
    /// A path that is answered here, and whether the answer is that the service stops.
    pub(crate) readiness: Option<(&'static str, &'static AtomicBool)>,
    /// What a client may cost.
    pub(crate) limits: Limits,
    /// Whether each request carries [`ConnectInfo`] in its extensions.
    pub(crate) connect_info: bool,
}

/// Serves a connection, on a task of its own, until its end or until the successor does; over TLS, if there are
/// `handshakes`.
pub(crate) fn serve<S: HttpService>(
    arrival: Arrival,
    service: S,
    terms: Arc<Terms>,
    handshakes: Option<Arc<Handshakes>>,
) -> JoinHandle<()> {
    let Arrival { stream, registered, past } = arrival;
    let info = terms.connect_info.then(|| ConnectInfo::of(&stream));
    let Some(handshakes) = handshakes else {
        let beginning = Beginning { past, info, agreed: None };
        return tokio::spawn(serve_http(Io::new(stream, registered), service, terms, beginning));
    };
    tokio::spawn(async move {
        // Boxed, as only a few connections are in the middle of one, and it is larger than all that follows.
        let begun = Box::pin(tls::begin(stream, registered, &handshakes, terms.idle_grace, info)).await;
        if let Some((io, beginning)) = begun {
            serve_http(io, service, terms, beginning).await;
        }
    })
}

/// What is known of a connection before its first byte of HTTP is read.
struct Beginning {
    past: Past,
    info: Option<ConnectInfo>,
    /// The protocol, where it was agreed on.
    agreed: Option<Protocol>,
}

/// While it idles, a connection is a [`Quiet`] one: all that is needed to serve it lives on the heap, and only
/// meanwhile.
fn serve_http<S: HttpService>(
    mut io: Io,
    service: S,
    terms: Arc<Terms>,
    beginning: Beginning,
) -> impl Future<Output = ()> + Send {
    let Beginning { past, info, agreed } = beginning;
    let state = Arc::clone(io.state());
    if !past.unread.is_empty() {
        state.received();
    }
    let patience = Patience::new(&state, &terms, past.since);
    io.give_back(past.unread);
    let requests = Requests::new(service, state, terms, info);
    let mut quiet = Quiet { io, requests, patience, delay: Delay::default() };
    let mut protocol = agreed.or(past.http1.then_some(Protocol::Http1));
    async move {
        loop {
            let spoken = match quiet.until_heard(protocol).await {
                End::Heard(spoken) => spoken,
                End::Moves => match Box::pin(quiet.give(protocol)).await {
                    Some(stays) => {
                        quiet = stays;
                        continue;
                    }
                    None => return,
                },
                End::LateHead => return Box::pin(quiet.io.refuse(StatusCode::REQUEST_TIMEOUT)).await,
                End::Over => return Box::pin(quiet.io.part()).await,
            };
            match Box::pin(speak(quiet, spoken)).await {
                Some(is_quiet) => quiet = is_quiet,
                None => return,
            }
            protocol = Some(Protocol::Http1);
        }
    }
}

/// Serves until the end, or until an HTTP/1 connection idles again.
async fn speak<S: HttpService>(quiet: Quiet<S>, protocol: Protocol) -> Option<Quiet<S>> {
    match protocol {
        Protocol::Http1 => http1::serve(quiet).await,
        Protocol::Http2 => {
            http2::serve(quiet).await;
            None
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    /// What begins with these bytes, as soon as they can only be one of the two.
    fn of(first: &[u8]) -> Option<Self> {
        let compared = first.len().min(HTTP2_PREFACE.len());
        if first[..compared] != HTTP2_PREFACE[..compared] {
            Some(Self::Http1)
        } else if compared == HTTP2_PREFACE.len() {
            Some(Self::Http2)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::task::{Context, Waker};

    use http::{Request, Response};
    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadBuf};
    use tokio::time::Instant;

    use super::*;
    use crate::body::Body;
    use crate::listener::Stream;
    use crate::lock::lock;

    /// Both sides of a connection that nobody has said anything on.
    fn quiet() -> (Quiet<impl HttpService>, DuplexStream) {
        let service = crate::service_fn(async |request: Request<Body>| {
            Ok::<_, Infallible>(Response::new(request.uri().path().to_owned()))
        });
        quiet_with(service, Limits { max_header_bytes: 8192, ..Limits::default() })
    }

    fn quiet_with<S: HttpService>(service: S, limits: Limits) -> (Quiet<S>, DuplexStream) {
        let (client, server) = tokio::io::duplex(1024);
        let registered = Connections::new(Arc::default()).admit();
        let state = Arc::clone(registered.state());
        let terms = Terms { idle_grace: Duration::ZERO, readiness: None, limits, connect_info: false };
        let terms = Arc::new(terms);
        let patience = Patience::new(&state, &terms, Instant::now());
        let io = Io::new(Stream::in_memory(server), registered);
        let requests = Requests::new(service, state, terms, None);
        (Quiet { io, requests, patience, delay: Delay::default() }, client)
    }

    async fn ask(client: &mut DuplexStream, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        client.write_all(request.as_bytes()).await.expect("there is room");
    }

    async fn answer(client: &mut DuplexStream, path: &str) {
        let mut answer = String::new();
        while !answer.ends_with(path) {
            let mut some = [0; 1024];
            let count = client.read(&mut some).await.expect("an answer");
            assert_ne!(count, 0, "{answer:?}");
            answer.push_str(str::from_utf8(&some[..count]).expect("text"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_idles_becomes_quiet_again_and_goes_on() {
        let (mut quiet, mut client) = quiet();
        for path in ["/first", "/second"] {
            ask(&mut client, path).await;
            let heard = quiet.until_heard(None).await;
            assert!(matches!(heard, End::Heard(Protocol::Http1)));
            let (again, ()) = tokio::join!(speak(quiet, Protocol::Http1), answer(&mut client, path));
            quiet = again.expect("it is still open");
        }
        drop(client);
        assert!(matches!(quiet.until_heard(Some(Protocol::Http1)).await, End::Over));
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_is_not_quiet() {
        let (quiet, mut client) = quiet();
        client.write_all(b"GET /ha").await.expect("there is room");
        let idles = tokio::time::timeout(Duration::from_secs(3600), speak(quiet, Protocol::Http1));
        assert!(idles.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_that_comes_with_a_request_is_not_quiet_and_leaves() {
        let (quiet, mut client) = quiet();
        let state = Arc::clone(quiet.io.state());
        client.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\nGET /ha").await.expect("there is room");
        let speaks = speak(quiet, Protocol::Http1);
        let leaves = async {
            answer(&mut client, "/").await;
            tokio::time::sleep(Duration::from_secs(10)).await;
            state.leave();
        };
        let (quiet, ()) = tokio::join!(speaks, leaves);
        assert!(quiet.is_none());
    }

    /// Not with the last byte of its head.
    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_request_begins_with_its_first_byte() {
        let service = crate::service_fn(async |request: Request<Body>| {
            request.into_body().collect().await.map(|_| Response::new(String::new()))
        });
        let limits = Limits {
            max_header_bytes: 8192,
            read_timeout: Some(Duration::from_millis(700)),
            ..Limits::default()
        };
        let (mut quiet, mut client) = quiet_with(service, limits);
        let begun = Instant::now();
        let asks = async {
            client.write_all(b"POST / HTTP/1.1\r\nhost: ").await.expect("there is room");
            tokio::time::sleep(Duration::from_millis(400)).await;
            client.write_all(b"test\r\ncontent-length: 10\r\n\r\n01234").await.expect("there is room");
            answer(&mut client, "\r\n\r\n").await;
            begun.elapsed().as_millis()
        };
        let serves = async {
            assert!(matches!(quiet.until_heard(None).await, End::Heard(Protocol::Http1)));
            speak(quiet, Protocol::Http1).await
        };
        let (_ended, answered) = tokio::join!(serves, asks);
        assert!((700..710).contains(&answered), "{answered} ms");
    }

    /// A client that says what nobody takes has its time to read why, in either protocol.
    #[tokio::test(start_paused = true)]
    async fn one_that_is_refused_lingers() {
        let head = format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(20_000)).into_bytes();
        // Data of no stream.
        let frames = [HTTP2_PREFACE, &heads::frame(4, 0, 0), &heads::frame(heads::DATA, 0, 8)].concat();
        for (protocol, bytes) in [(Protocol::Http1, head), (Protocol::Http2, frames)] {
            let (quiet, mut client) = quiet();
            let begun = Instant::now();
            let (ended, sent) = tokio::join!(speak(quiet, protocol), client.write_all(&bytes));
            sent.expect("all is taken");
            assert!(ended.is_none());
            let lingered = begun.elapsed().as_millis();
            assert_eq!(lingered.abs_diff(io::LINGER.as_millis()) / 10, 0, "{protocol:?}: {lingered} ms");
        }
    }

    /// With one thread, so that tokio would run the connection's task, which an answer has woken, before any stream
    /// that is ready to be answered.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn answers_of_http2_that_are_ready_together_are_written_together() {
        let answers = Arc::new(Mutex::new(None::<Answers>));
        let before_each = Arc::new(Mutex::new(Vec::new()));
        let service = crate::service_fn({
            let (answers, before_each) = (Arc::clone(&answers), Arc::clone(&before_each));
            move |_: Request<Body>| {
                let (answers, before_each) = (Arc::clone(&answers), Arc::clone(&before_each));
                async move {
                    let written = lock(&answers).as_mut().expect("there is a client").look();
                    lock(&before_each).push(written);
                    Ok::<_, Infallible>(Response::new(String::new()))
                }
            }
        });
        let (quiet, mut client) = quiet_with(service, Limits { max_header_bytes: 8192, ..Limits::default() });
        let requests = (0..8).map(|number| get(2 * number + 1));
        let bytes =
            [HTTP2_PREFACE.to_vec(), heads::frame(4, 0, 0)].into_iter().chain(requests).collect::<Vec<_>>();
        client.write_all(&bytes.concat()).await.expect("there is room");
        *lock(&answers) = Some(Answers { client, heads: heads::Heads::default(), written: 0 });
        let served = tokio::spawn(speak(quiet, Protocol::Http2));
        while lock(&answers).as_mut().expect("there is a client").look() < 8 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(*lock(&before_each), [0; 8]);
        *lock(&answers) = None;
        served.await.expect("no panic");
    }

    /// What a client of HTTP/2 is sent.
    struct Answers {
        client: DuplexStream,
        heads: heads::Heads,
        /// How many have begun.
        written: usize,
    }

    impl Answers {
        /// How many there are by now.
        fn look(&mut self) -> usize {
            let mut bytes = [0; 1024];
            let mut buffer = ReadBuf::new(&mut bytes);
            let cx = &mut Context::from_waker(Waker::noop());
            if Pin::new(&mut self.client).poll_read(cx, &mut buffer).is_ready() {
                let mut bytes = buffer.filled();
                while let Some(head) = self.heads.next(&mut bytes) {
                    self.written += usize::from(head.kind == heads::HEADERS);
                }
            }
            self.written
        }
    }

    /// The only frame of a request (RFC 7541, appendix A: GET, http, /, and an authority).
    fn get(stream: u8) -> Vec<u8> {
        const FIELDS: &[u8] = b"\x82\x86\x84\x41\x04test";
        let mut frame = heads::frame(heads::HEADERS, 5, FIELDS.len());
        frame[heads::LENGTH - 1] = stream;
        frame.truncate(heads::LENGTH);
        [&frame, FIELDS].concat()
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_be_either_is_waited_for() {
        let service = async |_: Request<Body>| Ok::<_, Infallible>(Response::new(String::new()));
        let limits = Limits { header_timeout: Some(Duration::from_secs(10)), ..Limits::default() };
        let (half, rest) = HTTP2_PREFACE.split_at(5);
        for (sent, ends, expected) in [
            (rest, false, "http2"),
            (b"X".as_slice(), false, "http1"),
            (b"".as_slice(), true, "http1"),
            (b"".as_slice(), false, "late"),
        ] {
            let (mut quiet, mut client) = quiet_with(crate::service_fn(service), limits);
            client.write_all(half).await.expect("there is room");
            let waits = tokio::time::timeout(Duration::from_secs(1), quiet.until_heard(None));
            assert!(waits.await.is_err(), "until {expected}");
            client.write_all(sent).await.expect("there is room");
            let _open = (!ends).then_some(client);
            let heard = match quiet.until_heard(None).await {
                End::Heard(Protocol::Http1) => "http1",
                End::Heard(Protocol::Http2) => "http2",
                End::LateHead => "late",
                End::Moves | End::Over => "neither",
            };
            assert_eq!(heard, expected);
            assert!(quiet.io.given_back().starts_with(half), "nothing is lost");
        }
    }

    #[tokio::test]
    async fn a_quiet_one_costs_next_to_nothing() {
        let registered = Connections::new(Arc::default()).admit();
        let (_client, server) = tokio::io::duplex(1);
        let io = Io::new(Stream::in_memory(server), registered);
        let beginning = Beginning { past: Past::none(), info: None, agreed: None };
        let service =
            crate::service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(String::new())));
        let limits = Limits::default();
        let terms = Terms { idle_grace: Duration::ZERO, readiness: None, limits, connect_info: false };
        let bytes = size_of_val(&serve_http(io, service, Arc::new(terms), beginning));
        assert!(bytes <= 512, "{bytes}");
    }

    #[test]
    fn the_protocol_is_known_at_the_first_byte_that_differs() {
        assert_eq!(Protocol::of(b""), None);
        assert_eq!(Protocol::of(b"G"), Some(Protocol::Http1));
        assert_eq!(Protocol::of(b"PUT / HTTP/1.1"), Some(Protocol::Http1));
        assert_eq!(Protocol::of(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"), None);
        assert_eq!(Protocol::of(HTTP2_PREFACE), Some(Protocol::Http2));
        assert_eq!(Protocol::of(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand more"), Some(Protocol::Http2));
    }
}
