//! How often a server asks its allocator for memory, for a request and for a connection. They count it
//! themselves, so only peers in Rust take part.

use std::io::Read as _;
use std::io::Write as _;

use crate::catalogue::{Http2, Peer};
use crate::client::Stream;
use crate::server::Server;
use crate::{Outcome, Run, exchange, streams};

pub(crate) const REQUEST: &str = "a request on a kept connection";
pub(crate) const CONNECTION: &str = "a connection with one request";
pub(crate) const STREAM: &str = "a request over HTTP/2";

const TIMES: u32 = 1_000;

type Work = fn(&Server) -> Outcome<()>;

const ROWS: [(&str, Work); 3] =
    [(REQUEST, requests), (CONNECTION, connections), (STREAM, requests_over_http2)];

pub(crate) fn measure(run: &mut Run) {
    let peers: Vec<_> = run.peers.iter().copied().filter(|peer| peer.is_rust()).collect();
    let rounds = 1..run.rounds(2.0) + 1;
    run.alternate("allocations", &peers, rounds, take);
}

fn take(run: &mut Run, peer: &'static Peer, round: u32) -> Outcome<()> {
    let server = Server::start_with(peer, &run.workshop, &["--count-allocations"])?;
    for (row, work) in ROWS {
        if row == STREAM && matches!(peer.http2, Http2::No(_)) {
            continue;
        }
        // What grows once has grown then.
        work(&server)?;
        let mut counter = server.way.connect()?;
        // To ask costs something too.
        let first = count(&mut counter)?;
        let asking = count(&mut counter)? - first;
        let before = count(&mut counter)?;
        work(&server)?;
        let allocations = count(&mut counter)? - before - asking;
        run.results.add("allocations", row, peer.name, round, [("count", allocations / f64::from(TIMES))]);
    }
    Ok(())
}

fn count(stream: &mut Stream) -> Outcome<f64> {
    Ok(exchange::body(stream, "/allocations")?.parse()?)
}

fn requests(server: &Server) -> Outcome<()> {
    let mut stream = server.way.connect()?;
    for _ in 0..TIMES {
        exchange::ask(&mut stream, "/hello")?;
    }
    Ok(())
}

fn connections(server: &Server) -> Outcome<()> {
    for _ in 0..TIMES {
        let mut stream = server.way.connect()?;
        stream.write_all(&exchange::request("/hello", false))?;
        stream.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

fn requests_over_http2(server: &Server) -> Outcome<()> {
    streams::on_this_thread(async {
        let mut client = streams::connect(server.http2).await?;
        let uri = format!("http://{}/hello", server.http2);
        for _ in 0..TIMES {
            streams::ask(&mut client, &uri).await?;
        }
        Ok(())
    })
}
