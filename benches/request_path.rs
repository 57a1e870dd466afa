//! What a request costs with endless and with bare hyper 1: the same runtime, the same handler, the same
//! client.
//!
//! Each server is a process of its own. Rounds alternate between the two, each pair of rounds gives one
//! ratio, and the median of the ratios is printed with its spread, because single figures of a busy machine
//! mean little:
//!
//! ```text
//! cargo bench --bench request_path            # 11 pairs of rounds
//! cargo bench --bench request_path -- 31      # more of them
//! ```
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::rt::TokioIo;

const CONNECTIONS: usize = 64;
const ROUND: Duration = Duration::from_secs(1);
const REQUEST: &[u8] = b"GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("serve-endless") => serve_endless(),
        Some("serve-hyper") => serve_hyper(),
        _ => compare(arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(11)),
    }
}

async fn hello<B>(_request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"WORLD!"))))
}

#[tokio::main]
async fn serve_endless() {
    endless::serve("127.0.0.1:0", endless::service_fn(hello)).await.expect("served");
}

#[tokio::main]
async fn serve_hyper() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    eprintln!("listening address={}", listener.local_addr().expect("bound"));
    loop {
        let (stream, _) = listener.accept().await.expect("accepted");
        stream.set_nodelay(true).expect("set");
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), hyper::service::service_fn(hello)),
        );
    }
}

/// A server process, ended with its guard.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(kind: &str) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut process = Command::new(program).arg(kind).stderr(Stdio::piped()).spawn().expect("started");
        let mut log = BufReader::new(process.stderr.take().expect("piped"));
        let mut line = String::new();
        log.read_line(&mut line).expect("a line");
        // The rest goes nowhere, and must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
        let address = address.and_then(|address| address.parse().ok()).expect("an address");
        Self { process, address }
    }

    /// Processor time used until now: user and system, in clock ticks (proc(5)).
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("alive");
        let fields = stat.rsplit(')').next().expect("fields").split_whitespace();
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }

    /// Requests answered in one round, and the ticks that they took.
    fn round(&self) -> (u64, u64) {
        let before = self.ticks();
        let answered = load(self.address);
        (answered, self.ticks() - before)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("reaped");
    }
}

/// Keeps every connection busy for a round, from two threads, with next to no work for an answer.
fn load(address: SocketAddr) -> u64 {
    let answered = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (answered, over) = (Arc::clone(&answered), Arc::clone(&over));
            std::thread::spawn(move || drive(address, CONNECTIONS / 2, &answered, &over))
        })
        .collect();
    let begin = Instant::now();
    std::thread::sleep(ROUND);
    over.store(true, Relaxed);
    let count = answered.load(Relaxed);
    let seconds = begin.elapsed().as_secs_f64();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    (count as f64 / seconds) as u64
}

/// One request in flight on each connection at any time.
fn drive(address: SocketAddr, connections: usize, answered: &AtomicU64, over: &AtomicBool) {
    let mut streams: Vec<TcpStream> =
        (0..connections).map(|_| TcpStream::connect(address).expect("connected")).collect();
    let mut answer = [0; 1024];
    streams.iter_mut().for_each(|stream| stream.write_all(REQUEST).expect("sent"));
    while !over.load(Relaxed) {
        for stream in &mut streams {
            let count = stream.read(&mut answer).expect("answered");
            assert!(answer[..count].ends_with(b"WORLD!"), "an answer of another shape");
            stream.write_all(REQUEST).expect("sent");
        }
        answered.fetch_add(connections as u64, Relaxed);
    }
}

fn compare(pairs: usize) {
    let endless = Server::start("serve-endless");
    let hyper = Server::start("serve-hyper");
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for pair in 0..=pairs {
        let (ours, our_ticks) = endless.round();
        let (theirs, their_ticks) = hyper.round();
        // The first pair warms up.
        if pair > 0 {
            rates.push(ours as f64 / theirs as f64);
            costs.push((our_ticks as f64 / ours as f64) / (their_ticks as f64 / theirs as f64));
        }
    }
    println!("endless / bare hyper 1, {CONNECTIONS} keep-alive connections, {pairs} pairs of rounds:");
    println!("  requests a second           {}", summary(rates));
    println!("  processor time per request  {}", summary(costs));
}

fn summary(mut ratios: Vec<f64>) -> String {
    ratios.sort_by(f64::total_cmp);
    let at = |quantile: f64| ratios[((ratios.len() - 1) as f64 * quantile).round() as usize];
    format!(
        "median {:.3}, quartiles {:.3} to {:.3}, range {:.3} to {:.3}",
        at(0.5),
        at(0.25),
        at(0.75),
        at(0.0),
        at(1.0)
    )
}
