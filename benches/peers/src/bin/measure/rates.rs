//! Requests a second, and what a request costs the server in processor time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::catalogue::{Http2, Peer, Program};
use crate::load::{self, Round, Sessions};
use crate::server::Server;
use crate::{Outcome, Run, streams};

const WINDOW: Duration = Duration::from_millis(350);
const ROUNDS: f64 = 7.0;

pub(crate) type Workload = (&'static str, fn(&Server, Duration) -> Outcome<Round>);

/// Without TLS.
pub(crate) const WORKLOADS: [Workload; 6] = [
    (KEEP_ALIVE, |server, window| load::keep_alive(server, "/hello", 64, window)),
    ("1,024 keep-alive connections", |server, window| load::keep_alive(server, "/hello", 1024, window)),
    ("new connections", |server, window| load::new_connections(server, Sessions::New, 32, window)),
    (STREAMS, |server, window| streams::keep_busy(server, 8, 8, window)),
    ("bodies of 1 KiB", |server, window| load::keep_alive(server, "/1k", 64, window)),
    (MEBIBYTE, |server, window| load::keep_alive(server, "/1m", 16, window)),
];

/// For those that speak it.
pub(crate) const OVER_TLS: [Workload; 3] = [
    ("64 keep-alive connections over TLS", |server, window| load::keep_alive(server, "/hello", 64, window)),
    ("new connections over TLS", |server, window| load::new_connections(server, Sessions::New, 32, window)),
    ("new connections over TLS that resume a session", |server, window| {
        load::new_connections(server, Sessions::Resumed, 32, window)
    }),
];

const KEEP_ALIVE: &str = "64 keep-alive connections";
const STREAMS: &str = "64 streams of HTTP/2";
const MEBIBYTE: &str = "bodies of 1 MiB";

pub(crate) fn measure(run: &mut Run) {
    let mut servers = BTreeMap::new();
    let over_tls = OVER_TLS.map(|workload| (workload, true));
    for (workload, tls) in WORKLOADS.map(|workload| (workload, false)).into_iter().chain(over_tls) {
        eprintln!("{}", workload.0);
        let peers = who_can(run, workload.0, tls);
        // The first round warms up.
        let rounds = 0..run.rounds(ROUNDS) + 1;
        run.alternate(workload.0, &peers, rounds, |run, peer, round| {
            let taken = take(run, &mut servers, peer, &workload);
            if taken.is_err() {
                servers.remove(peer.name);
            }
            let taken = taken?;
            if round > 0 {
                run.results.add("rates", workload.0, peer.name, round, values(&taken));
            }
            Ok(())
        });
    }
}

fn who_can(run: &mut Run, workload: &str, tls: bool) -> Vec<&'static Peer> {
    let mut able = Vec::new();
    for peer in run.peers.clone().into_iter().filter(|peer| peer.tls == tls) {
        let reason = match (&peer.http2, &peer.program) {
            (Http2::No(reason), _) if workload == STREAMS => reason,
            (_, Program::Haproxy) if workload == MEBIBYTE => {
                "an answer of its own must fit into one of its buffers"
            }
            _ => {
                able.push(peer);
                continue;
            }
        };
        run.results.leave_out(peer.name, workload, reason);
    }
    able
}

fn take(
    run: &Run,
    servers: &mut BTreeMap<&'static str, Server>,
    peer: &'static Peer,
    workload: &Workload,
) -> Outcome<Round> {
    if !servers.contains_key(peer.name) {
        servers.insert(peer.name, Server::start(peer, &run.workshop)?);
    }
    let window = WINDOW.mul_f64(run.scale.clamp(0.25, 1.0));
    (workload.1)(&servers[peer.name], window)
}

fn values(round: &Round) -> [(&'static str, f64); 3] {
    [
        ("rate", round.answered / round.time.as_secs_f64()),
        ("processor_us", round.processor_time.as_secs_f64() * 1e6 / round.answered),
        ("cores", round.processor_time.as_secs_f64() / round.time.as_secs_f64()),
    ]
}
