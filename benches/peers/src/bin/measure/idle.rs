//! Memory that a connection costs while it idles after an answer: what is the processes' own with so many of
//! them, less what it was without.

use std::thread::sleep;
use std::time::Duration;

use crate::catalogue::Peer;
use crate::connections::{self, Idle};
use crate::server::Server;
use crate::{Outcome, Run, exchange};

const CONNECTIONS: usize = 10_000;

/// Whoever gives buffers back does so when a connection has been idle for a moment.
const SETTLED: Duration = Duration::from_secs(1);

pub(crate) fn measure(run: &mut Run) {
    let peers: Vec<_> = run.peers.iter().copied().filter(|peer| !peer.tls).collect();
    let rounds = 1..run.rounds(2.0) + 1;
    run.alternate("memory", &peers, rounds, take);
}

fn take(run: &mut Run, peer: &'static Peer, round: u32) -> Outcome<()> {
    let server = Server::start(peer, &run.workshop)?;
    let count = connections::at_most(CONNECTIONS, run.workshop.descriptors);
    exchange::once(&server.way, "/hello")?;
    sleep(SETTLED / 5);
    let before = server.private_memory();
    let idle = Idle::open(&server, count)?;
    sleep(SETTLED);
    let bytes = server.private_memory().saturating_sub(before) as f64 / count as f64;
    if idle.closed() > 0 {
        return Err(format!("closed {} of {count} idle connections", idle.closed()).into());
    }
    let values = [("bytes", bytes), ("connections", count as f64), ("process_kib", before as f64 / 1024.0)];
    run.results.add("memory", "idle", peer.name, round, values);
    Ok(())
}
