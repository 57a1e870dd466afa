//! Handshakes: who takes its time costs nobody else any, counts as a connection, and is not waited for without end.

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::faults::{accepted_by, has_slept};
use support::{App, Authority, Client, Mark, Pipe, Secure, example, patiently, restarts};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

struct Site {
    app: App,
    address: SocketAddr,
    secure: Secure,
    _authority: Authority,
}

impl Site {
    async fn start(words: &[&str]) -> Self {
        let authority = Authority::new();
        let mut command = Command::new(example("test_secured"));
        command.arg(format!("files={}", authority.issue("server", &["localhost"]).pair())).args(words);
        let app = App::start(command);
        app.wait_for_message(Mark::START, "serving").await;
        let address = app.address().await;
        Self { app, address, secure: Secure::trusting(&authority), _authority: authority }
    }

    async fn silent(&self) -> TcpStream {
        patiently(TcpStream::connect(self.address)).await.expect("it takes connections")
    }

    /// One that has said the beginning of what every ClientHello begins with.
    async fn half(&self) -> TcpStream {
        let mut stream = self.silent().await;
        patiently(stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3])).await.expect("it reads");
        stream
    }

    async fn client(&self) -> Client {
        Client::secure(self.address, &self.secure).await
    }

    /// The clients' ports of the connections that the server has accepted.
    fn accepted(&self) -> BTreeSet<u16> {
        accepted_by(self.app.first_pid(), self.address)
    }

    /// How many connections the server counts, that of who asks left out.
    async fn connections(&self) -> u64 {
        let answer = self.client().await.get("/status").await;
        let status: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        status["servers"][0]["connections"].as_u64().expect("a number") - 1
    }

    /// How long a new connection takes to its first answer, as a rule.
    async fn latency(&self) -> Duration {
        let mut latencies = Vec::new();
        for _ in 0..21 {
            let begun = Instant::now();
            assert_eq!(self.client().await.get("/hello").await.text(), "WORLD!");
            latencies.push(begun.elapsed());
        }
        latencies.sort();
        latencies[10]
    }

    async fn until_connections(&self, count: u64) {
        patiently(async {
            while self.connections().await != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// Nothing, and half a ClientHello.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_its_handshake_is_closed_and_others_are_served_meanwhile() {
    let site = Site::start(&["handshake_timeout=1500"]).await;
    let begun = Instant::now();
    let (mut silent, mut half) = (site.silent().await, site.half().await);
    site.until_connections(2).await;
    let mut client = site.client().await;
    assert_eq!(client.get("/hello").await.text(), "WORLD!");
    for stream in [&mut silent, &mut half] {
        assert_eq!(patiently(stream.read(&mut [0; 64])).await.expect("no reset"), 0);
        assert!(begun.elapsed() >= Duration::from_millis(1500), "closed after {:?}", begun.elapsed());
    }
    // It is the handshake that must be over, and not the connection.
    assert_eq!(client.get("/hello").await.text(), "WORLD!");
    site.until_connections(1).await;
    site.app.stop().await;
}

/// A ClientHello, and then nothing: the server has said its part.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_the_servers_part_is_closed() {
    let site = Site::start(&["handshake_timeout=1000"]).await;
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let secure = site.secure.clone();
    let _handshake = tokio::spawn(async move { secure.over(near).await });
    let mut hello = vec![0; 1 << 16];
    let length = patiently(far.read(&mut hello)).await.expect("a hello");
    let mut stream = site.silent().await;
    patiently(stream.write_all(&hello[..length])).await.expect("it reads");
    let mut answer = Vec::new();
    patiently(stream.read_to_end(&mut answer)).await.expect("no reset");
    assert_eq!(answer.first(), Some(&22), "no handshake of the server's");
    site.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_count_against_max_connections() {
    let site = Site::start(&["max_connections=2", "handshake_timeout=60000"]).await;
    let (silent, half) = (site.silent().await, site.half().await);
    patiently(async {
        while site.accepted().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let stream = site.silent().await;
    let port = stream.local_addr().expect("it is open").port();
    // Whoever would accept it has had its turn.
    patiently(has_slept(site.app.first_pid())).await;
    assert!(!site.accepted().contains(&port), "it was accepted beside two handshakes");
    let secure = site.secure.clone();
    let waiting = tokio::spawn(async move {
        let pipe = Pipe::over(stream, Some(&secure)).await.expect("a handshake");
        Client::over_pipe(pipe).get("/hello").await
    });
    drop(silent);
    assert_eq!(patiently(waiting).await.expect("no panic").text(), "WORLD!");
    drop(half);
    site.app.stop().await;
}

/// More than a ClientHello may be.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_without_end_ends() {
    let site = Site::start(&["handshake_timeout=1000"]).await;
    let mut stream = site.silent().await;
    let record = [&[22, 3, 1, 64, 0, 1, 0, 255, 255][..], &[0; 16379]].concat();
    for _ in 0..10 {
        // It may have enough of it before.
        let _sent = patiently(stream.write_all(&record)).await;
    }
    let _ended = patiently(stream.read_to_end(&mut Vec::new())).await;
    let mut client = site.client().await;
    assert_eq!(client.get("/hello").await.text(), "WORLD!");
    site.app.stop().await;
}

// ---- many at once

/// They keep nobody waiting, and end by their time.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_never_finishes_costs_the_others_nothing() {
    let crowd = restarts(100, 1000);
    let site = Site::start(&["handshake_timeout=4000"]).await;
    let before = site.latency().await;
    let mut streams = Vec::new();
    for number in 0..crowd {
        streams.push(if number % 2 == 0 { site.silent().await } else { site.half().await });
    }
    let during = site.latency().await;
    eprintln!(
        "median of a new connection's first answer: {during:?} beside {crowd} unfinished handshakes, {before:?} without"
    );
    assert!(during < Duration::from_secs(2), "{during:?} instead of {before:?}");
    for stream in &mut streams {
        assert_eq!(patiently(stream.read(&mut [0; 64])).await.expect("no reset"), 0);
    }
    site.until_connections(0).await;
    site.app.stop().await;
}

/// A storm of whole ones: each is answered, and so is who was there before.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_handshakes_is_served_and_starves_nobody() {
    let storm = restarts(200, 5000);
    let site = Site::start(&[]).await;
    let mut client = site.client().await;
    let served = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (address, secure, served) = (site.address, site.secure.clone(), Arc::clone(&served));
        tasks.spawn(async move {
            while served.fetch_add(1, Ordering::Relaxed) < storm {
                patiently(secure.connect(address)).await.expect("a handshake");
            }
        });
    }
    let mut longest = Duration::ZERO;
    while !tasks.is_empty() {
        let begun = Instant::now();
        assert_eq!(client.get("/hello").await.text(), "WORLD!");
        longest = longest.max(begun.elapsed());
        tasks.try_join_next().transpose().expect("no panic");
    }
    eprintln!("the slowest answer beside {storm} handshakes: {longest:?}");
    patiently(tasks.join_all()).await;
    assert_eq!(client.get("/hello").await.text(), "WORLD!");
    site.app.stop().await;
}
