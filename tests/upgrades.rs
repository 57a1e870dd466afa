//! Connections that are handed to a handler, by an upgrade or by CONNECT: counted, told of the drain,
//! finished in the predecessor, hammered at the end. And upgrades of which nothing comes.

mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use nix::sys::signal::Signal;
use support::{
    App, Client, Http2, Mark, Raw, SIGNALS, Said, WebSocket, example, is_stop, more, moves_or_closes,
    patiently, until_busy,
};

const FALL: &str = "[STOP - Hammer Time] Forcefully shutting down";
const HAMMER_TIME: Duration = Duration::from_secs(1);

/// Answered a second after the drain has begun, when an idle connection is long gone.
const LATER: &str = "/until_draining?ms=1000";

async fn start(hammer_time: &str) -> (App, SocketAddr) {
    let mut command = Command::new(example("test_declarative"));
    command.env("ENDLESS_IDLE_GRACE", "200ms").env("ENDLESS_HAMMER_TIME", hammer_time);
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    let address = app.address().await;
    (app, address)
}

async fn goes_on_until_it_closes(way: Way) {
    for signal in SIGNALS {
        let (app, address) = start("1h").await;
        let mut tunnel = Tunnel::open(way, address).await;
        let mut clock = Client::connect(address).await;
        clock.ask(LATER).await;
        until_busy(address, 2, 1).await;
        tunnel.echoes("before").await;

        app.signal(app.first_pid(), signal);
        assert_eq!(tunnel.hear().await, "draining\n", "{way:?} {signal}");
        assert_eq!(clock.answer().await.text(), "draining");
        tunnel.echoes("after").await;
        tunnel.close().await;
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
        assert!(!app.lines().iter().any(|line| line.message() == Some(FALL)));
    }
}

async fn is_hammered(way: Way) {
    for signal in SIGNALS {
        let (app, address) = start("1s").await;
        let mut tunnel = Tunnel::open(way, address).await;
        tunnel.echoes("before").await;
        let begun = Instant::now();
        app.signal(app.first_pid(), signal);
        assert_eq!(tunnel.hear().await, "draining\n", "{way:?} {signal}");
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
        assert!(begun.elapsed() >= HAMMER_TIME, "{way:?} {signal}: ended after {:?}", begun.elapsed());
        let line = app.wait_for_message(Mark::START, FALL).await;
        assert_eq!(line.field("connections"), Some("1"));
        tunnel.broken().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_one_goes_on_until_it_closes() {
    goes_on_until_it_closes(Way::Upgrade).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_goes_on_until_it_closes() {
    goes_on_until_it_closes(Way::WebSocket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_goes_on_until_it_closes() {
    goes_on_until_it_closes(Way::Connect).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_over_http2_goes_on_until_it_closes() {
    goes_on_until_it_closes(Way::ConnectOverHttp2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_one_that_stays_is_hammered() {
    is_hammered(Way::Upgrade).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_stays_is_hammered() {
    is_hammered(Way::WebSocket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_stays_is_hammered() {
    is_hammered(Way::Connect).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_over_http2_that_stays_is_hammered() {
    is_hammered(Way::ConnectOverHttp2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_refused_leaves_a_connection_as_any_other() {
    for signal in SIGNALS {
        let (app, address) = start("1h").await;
        let mut client = Client::connect(address).await;
        ask_to_upgrade(&mut client, "/hello").await;
        let answer = client.answer().await;
        assert_eq!((answer.text().as_str(), answer.close), ("WORLD!", false));
        assert_eq!(client.get("/hello").await.text(), "WORLD!");
        ask_to_upgrade(&mut client, "/until_draining").await;
        until_busy(address, 1, 1).await;
        app.signal(app.first_pid(), signal);
        let answer = client.answer().await;
        assert_eq!((answer.text().as_str(), answer.close), ("draining", is_stop(signal)));
        moves_or_closes(&app, &mut client, signal).await;
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    }
}

/// As clients ask that would rather speak HTTP/2, also with a body, which nobody reads here.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_refused_cuts_no_answer() {
    for (signal, method, body) in [
        (Signal::SIGHUP, "GET", "\r\n"),
        (Signal::SIGTERM, "GET", "\r\n"),
        (Signal::SIGHUP, "POST", "Content-Length: 5\r\n\r\nwhole"),
        (Signal::SIGHUP, "POST", "Content-Length: 1000000\r\n\r\npart"),
        (Signal::SIGTERM, "POST", "Content-Length: 1000000\r\n\r\npart"),
    ] {
        let (app, address) = start("1h").await;
        let mut client = Client::connect(address).await;
        let head = format!("{method} /large_when_draining HTTP/1.1\r\nHost: test\r\n{UPGRADE}\r\n");
        client.send(&format!("{head}{body}")).await;
        until_busy(address, 1, 1).await;
        app.signal(app.first_pid(), signal);
        let answer = client.answer().await;
        assert_eq!(answer.body.len(), 10_000_000, "{signal} {method} {body:?}");
        let moves = signal == Signal::SIGHUP && method == "GET";
        assert_eq!(answer.close, !moves, "{signal} {method} {body:?}");
        match moves {
            true => moves_or_closes(&app, &mut client, signal).await,
            false => client.closed().await,
        }
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    }
}

const UPGRADE: &str = "Connection: upgrade\r\nUpgrade: echo";

async fn ask_to_upgrade(client: &mut Client, path: &str) {
    client.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n{UPGRADE}\r\n\r\n")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_under_way_when_the_drain_begins_comes_about() {
    for signal in SIGNALS {
        let (app, address) = start("1h").await;
        let mut raw = Raw::connect(address).await;
        let upgrade = "Connection: upgrade\r\nUpgrade: echo";
        raw.send(&format!("GET /echo?draining HTTP/1.1\r\nHost: test\r\n{upgrade}\r\n\r\n")).await;
        until_busy(address, 1, 1).await;
        app.signal(app.first_pid(), signal);
        let head = raw.take("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("connection: upgrade\r\n"), "{head:?}");
        raw.take("draining\n").await;
        raw.send("text").await;
        raw.take("text").await;
        drop(raw);
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_nobody_takes_is_closed() {
    let (app, address) = start("1h").await;
    let mut raw = Raw::connect(address).await;
    raw.send("GET /unwanted HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await;
    assert!(raw.rest().await.starts_with("HTTP/1.1 101 "));
    until_busy(address, 0, 0).await;
    assert_eq!(app.stop().await.code(), Some(0));
}

/// How a connection comes into the hands of a handler that gives everything back.
#[derive(Clone, Copy, Debug)]
enum Way {
    Upgrade,
    WebSocket,
    Connect,
    ConnectOverHttp2,
}

enum Tunnel {
    Raw(Raw),
    WebSocket(WebSocket),
    Stream { connection: Http2, incoming: RecvStream, out: SendStream<Bytes> },
}

impl Tunnel {
    async fn open(way: Way, address: SocketAddr) -> Self {
        match way {
            Way::Upgrade => Self::Raw(Raw::upgraded(address).await),
            Way::WebSocket => Self::WebSocket(WebSocket::connect(address, "/websocket").await),
            Way::Connect => {
                let mut raw = Raw::connect(address).await;
                raw.send("CONNECT echo.test:7 HTTP/1.1\r\nHost: echo.test:7\r\n\r\n").await;
                let head = raw.take("\r\n\r\n").await;
                assert!(head.starts_with("HTTP/1.1 200 "), "{head:?}");
                Self::Raw(raw)
            }
            Way::ConnectOverHttp2 => {
                let mut connection = Http2::connect(address).await;
                let (incoming, out) = connection.tunnel().await;
                Self::Stream { connection, incoming, out }
            }
        }
    }

    async fn echoes(&mut self, word: &str) {
        let line = format!("{word}\n");
        match self {
            Self::Raw(raw) => raw.send(&line).await,
            Self::WebSocket(socket) => socket.say(&line).await,
            Self::Stream { out, .. } => {
                out.send_data(line.clone().into(), false).expect("the stream is open")
            }
        }
        assert_eq!(self.hear().await, line);
    }

    /// The next line.
    async fn hear(&mut self) -> String {
        match self {
            Self::Raw(raw) => raw.take("\n").await,
            Self::WebSocket(socket) => match socket.hear().await {
                Said::Text(line) => line,
                close => panic!("{close:?} in the place of a line"),
            },
            Self::Stream { incoming, .. } => {
                let data = patiently(more(incoming)).await.expect("no reset").expect("no end");
                String::from_utf8(data.to_vec()).expect("the tests' answers are text")
            }
        }
    }

    /// Ends it from the client's side; over HTTP/2 the stream alone, so that the server has to end the
    /// connection.
    async fn close(self) {
        if let Self::Stream { connection, mut incoming, mut out } = self {
            out.send_data(Bytes::new(), true).expect("the stream is open");
            while let Some(data) = patiently(more(&mut incoming)).await.expect("no reset") {
                assert!(data.is_empty(), "{data:?} after the end");
            }
            connection.closed().await;
        }
    }

    /// Waits for an end of any kind.
    async fn broken(self) {
        match self {
            Self::Raw(mut raw) => drop(raw.rest().await),
            Self::WebSocket(socket) => socket.broken().await,
            Self::Stream { connection, .. } => connection.broken().await,
        }
    }
}
