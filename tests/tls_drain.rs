//! How connections over TLS leave: what is in flight is finished, what idles gets its grace, and each end is said
//! by close_notify, so that nobody takes it for an attack. They do not move.

mod support;

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{
    App, Authority, Client, Http2, Mark, PREFACE, SETTINGS, SIGNALS, Secure, VERSIONS, declarative, frame,
    patiently, tool,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Longer than any test: what happens within it does not happen because it is over.
const LONG: &str = "1h";

struct Site {
    app: App,
    address: SocketAddr,
    secure: Secure,
    authority: Authority,
}

impl Site {
    async fn start(idle_grace: &str) -> Self {
        let authority = Authority::new();
        let identity = authority.issue("server", &["localhost"]);
        let mut command = declarative();
        command.env("ENDLESS_IDLE_GRACE", idle_grace).env("ENDLESS_HAMMER_TIME", LONG);
        command.env("ENDLESS_TLS_CERT", &identity.cert).env("ENDLESS_TLS_KEY", &identity.key);
        let app = App::start(command);
        app.wait_for_message(Mark::START, "serving").await;
        let address = app.address().await;
        Self { app, address, secure: Secure::trusting(&authority), authority }
    }

    async fn client(&self) -> Client {
        Client::secure(self.address, &self.secure).await
    }

    /// One that has been answered.
    async fn idle_client(&self) -> Client {
        let mut client = self.client().await;
        assert!(!client.get("/hello").await.close);
        client
    }

    /// Waits until this many connections are open and this many requests in flight, the one that asks left out.
    async fn until_busy(&self, connections: u64, in_flight: u64) {
        let counts = || async {
            let mut client = self.client().await;
            let status: serde_json::Value =
                serde_json::from_slice(&client.get("/status").await.body).expect("JSON");
            let server = status["servers"][0].clone();
            (server["connections"].as_u64(), server["in_flight"].as_u64())
        };
        patiently(async {
            while counts().await != (Some(connections + 1), Some(in_flight + 1)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Sends the signal, and waits until the drain has begun.
    async fn drain(&self, signal: Signal) {
        self.app.signal(self.app.first_pid(), signal);
        self.app.wait_for_message(Mark::START, "draining").await;
    }

    /// With nothing left to wait for, the process is gone although its grace is not over.
    async fn ends(self) {
        assert_eq!(self.app.exit(self.app.first_pid()).await.code(), Some(0));
    }
}

// ---- HTTP/1

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_is_finished_and_says_close() {
    for (signal, version) in SIGNALS.into_iter().zip(VERSIONS) {
        let mut site = Site::start(LONG).await;
        site.secure = site.secure.version(version);
        let mut client = site.client().await;
        client.ask("/until_draining?ms=300").await;
        site.until_busy(1, 1).await;
        site.app.signal(site.app.first_pid(), signal);
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.text().as_str(), answer.close), (200, "draining", true));
        client.closed().await;
        site.ends().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_answered_once_more_and_told_to_close() {
    for signal in SIGNALS {
        let site = Site::start(LONG).await;
        let (mut fresh, mut used) = (site.client().await, site.idle_client().await);
        site.drain(signal).await;
        for client in [&mut fresh, &mut used] {
            assert!(client.is_quiet());
            let answer = client.get("/hello").await;
            assert_eq!((answer.text().as_str(), answer.close), ("WORLD!", true));
            let pid = site.app.first_pid().to_string();
            assert_eq!(answer.header("x-pid"), Some(pid.as_str()));
            client.closed().await;
        }
        site.ends().await;
    }
}

/// Not before it is over, which is longer than the default one, and in an orderly way: the client forgives no end
/// without close_notify.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_after_the_grace_with_close_notify() {
    for signal in SIGNALS {
        let site = Site::start("3s").await;
        let (mut fresh, mut used) = (site.client().await, site.idle_client().await);
        let mut half = site.client().await;
        half.send("GET /hello HTTP/1.1\r\nHo").await;
        site.until_busy(3, 0).await;
        let begun = Instant::now();
        site.drain(signal).await;
        for client in [&mut fresh, &mut used, &mut half] {
            client.closed().await;
            assert!(begun.elapsed() >= Duration::from_secs(3), "closed after {:?}", begun.elapsed());
        }
        site.ends().await;
    }
}

/// A service that says itself that a connection ends, and a client that does.
#[tokio::test(flavor = "multi_thread")]
async fn each_end_is_said_also_without_a_drain() {
    let site = Site::start(LONG).await;
    for request in ["GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", "rubbish\r\n\r\n"] {
        let mut client = site.client().await;
        client.send(request).await;
        assert!(client.answer().await.close);
        client.closed().await;
    }
    let mut stream = site.secure.connect(site.address).await.expect("a handshake");
    patiently(stream.shutdown()).await.expect("it is open");
    let mut rest = Vec::new();
    patiently(stream.read_to_end(&mut rest)).await.expect("close_notify is answered");
    assert!(rest.is_empty());
    site.app.stop().await;
}

/// What is cut off must look so, or a client could take a part for the whole.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_off_is_not_said_to_have_ended() {
    let site = Site::start(LONG).await;
    let mut stream = site.secure.connect(site.address).await.expect("a handshake");
    // In HTTP/1.0 the end of the connection is the end of the answer.
    patiently(stream.write_all(b"GET /error_in_body HTTP/1.0\r\n\r\n")).await.expect("it reads");
    let mut answer = Vec::new();
    let error = patiently(stream.read_to_end(&mut answer)).await.expect_err("cut off");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(String::from_utf8_lossy(&answer).ends_with("\r\n\r\npiece\n"));
    site.app.stop().await;
}

/// To openssl, an end without close_notify is an error that it tells.
#[tokio::test(flavor = "multi_thread")]
async fn openssl_sees_an_end_in_peace() {
    let Some(openssl) = tool("openssl") else { return };
    let site = Site::start("1s").await;
    let mut command = Command::new(openssl);
    command.args(["s_client", "-quiet", "-no_ign_eof", "-servername", "localhost", "-CAfile"]);
    command.arg(site.authority.root()).args(["-connect", &site.address.to_string()]);
    let mut client = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl can be run");
    let mut input = client.stdin.take().expect("piped");
    input.write_all(b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n").expect("it reads");
    let mut output = client.stdout.take().expect("piped");
    let read = tokio::task::spawn_blocking(move || {
        let mut text = Vec::new();
        while !text.ends_with(b"WORLD!") {
            let mut byte = [0];
            output.read_exact(&mut byte).expect("an answer");
            text.push(byte[0]);
        }
        output
    });
    let output = patiently(read).await.expect("an answer");
    site.drain(Signal::SIGTERM).await;
    let ended = tokio::task::spawn_blocking(move || client.wait_with_output());
    let ended = patiently(ended).await.expect("no panic").expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success() && !said.contains("error"), "{said}");
    drop((input, output));
    site.ends().await;
}

// ---- HTTP/2

#[tokio::test(flavor = "multi_thread")]
async fn http_2_finishes_its_streams_and_says_goaway() {
    for (signal, version) in SIGNALS.into_iter().zip(VERSIONS) {
        let site = Site::start(LONG).await;
        let secure = site.secure.clone().version(version).protocol("h2");
        let mut http2 = Http2::connect_over(site.address, Some(&secure)).await;
        let answers = [http2.ask("/until_draining?ms=300").await, http2.ask("/until_draining?ms=300").await];
        site.until_busy(1, 2).await;
        site.app.signal(site.app.first_pid(), signal);
        for answer in answers {
            assert_eq!(answer.await.expect("an answer").body, "draining");
        }
        http2.closed().await;
        site.ends().await;
    }
}

/// An idle one has nothing to wait for.
#[tokio::test(flavor = "multi_thread")]
async fn http_2_without_a_stream_is_told_at_once() {
    let site = Site::start(LONG).await;
    let mut http2 = Http2::connect_over(site.address, Some(&site.secure.clone().protocol("h2"))).await;
    assert_eq!(http2.get("/hello").await.expect("an answer").status, 200);
    site.drain(Signal::SIGTERM).await;
    http2.closed().await;
    site.ends().await;
}

/// A client that does not say that it has heard is not waited for longer than an idle one, and its end is said, too.
#[tokio::test(flavor = "multi_thread")]
async fn http_2_that_does_not_answer_is_closed_after_the_grace_with_close_notify() {
    for version in VERSIONS {
        let site = Site::start("1s").await;
        let secure = site.secure.clone().version(version).protocol("h2");
        let mut stream = secure.connect(site.address).await.expect("a handshake");
        let beginning = [PREFACE, &frame(SETTINGS, 0, 0, &[])[..]].concat();
        patiently(stream.write_all(&beginning)).await.expect("it reads");
        site.until_busy(1, 0).await;
        let begun = Instant::now();
        site.drain(Signal::SIGTERM).await;
        let mut said = Vec::new();
        patiently(stream.read_to_end(&mut said)).await.expect("an end in peace");
        assert!(begun.elapsed() >= Duration::from_secs(1), "closed after {:?}", begun.elapsed());
        assert!(!said.is_empty(), "it speaks HTTP/2");
        site.ends().await;
    }
}

// ---- in the middle of a handshake

/// A client that has sent the first half of its ClientHello.
async fn half_a_hello(address: SocketAddr, secure: &Secure) -> Halfway {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let secure = secure.clone();
    let handshake = tokio::spawn(async move { secure.over(near).await });
    let mut hello = vec![0; 1 << 16];
    let length = patiently(far.read(&mut hello)).await.expect("a hello");
    hello.truncate(length);
    let mut stream = patiently(TcpStream::connect(address)).await.expect("it takes connections");
    patiently(stream.write_all(&hello[..length / 2])).await.expect("it reads");
    Halfway { handshake, far, stream, rest: hello.split_off(length / 2) }
}

struct Halfway {
    handshake: tokio::task::JoinHandle<std::io::Result<TlsStream<tokio::io::DuplexStream>>>,
    far: tokio::io::DuplexStream,
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Halfway {
    async fn finish(self) -> TlsStream<tokio::io::DuplexStream> {
        let Self { handshake, mut far, mut stream, rest } = self;
        patiently(stream.write_all(&rest)).await.expect("it reads");
        tokio::spawn(async move {
            let _ended = tokio::io::copy_bidirectional(&mut far, &mut stream).await;
        });
        patiently(handshake).await.expect("no panic").expect("a handshake")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_under_way_is_finished_and_its_request_answered() {
    for signal in SIGNALS {
        let site = Site::start(LONG).await;
        let halfway = half_a_hello(site.address, &site.secure).await;
        site.until_busy(1, 0).await;
        site.drain(signal).await;
        let mut stream = halfway.finish().await;
        let request = b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n";
        patiently(stream.write_all(request)).await.expect("it reads");
        let mut answer = String::new();
        patiently(stream.read_to_string(&mut answer)).await.expect("an end in peace");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("WORLD!"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(answer.contains(&format!("x-pid: {}\r\n", site.app.first_pid())), "{answer}");
        site.ends().await;
    }
}

/// One that has not begun is not waited for longer than any idle connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_nothing_has_its_grace() {
    let site = Site::start("1s").await;
    let mut silent = patiently(TcpStream::connect(site.address)).await.expect("it takes connections");
    site.until_busy(1, 0).await;
    let begun = Instant::now();
    site.drain(Signal::SIGTERM).await;
    assert_eq!(patiently(silent.read(&mut [0])).await.expect("an end in peace"), 0);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    site.ends().await;
}
