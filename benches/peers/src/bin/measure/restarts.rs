//! What a restart costs clients, how long it takes, and whether that depends on idle connections or on
//! memory.

use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::catalogue::{Addressee, Peer};
use crate::connections::{self, Idle};
use crate::results::Values;
use crate::server::{Server, is_alive};
use crate::spread::quantile;
use crate::steady::{Seen, Steady};
use crate::{Outcome, Run, exchange};

const ROUNDS: f64 = 5.0;

/// Before a restart and after it.
pub(crate) const WINDOW: Duration = Duration::from_millis(500);
const RAMP: Duration = Duration::from_millis(150);

/// How long a restart is watched.
const LIMIT: Duration = Duration::from_secs(10);

/// How long it may take until memory is touched, where there is little of it left.
const TOUCHED: Duration = Duration::from_secs(60);

/// Under what a restart happens.
pub(crate) struct Situation {
    pub(crate) name: &'static str,
    pub(crate) idle: usize,
    pub(crate) gibibytes: u64,
}

const fn situation(name: &'static str, idle: usize, gibibytes: u64) -> Situation {
    Situation { name, idle, gibibytes }
}

/// One process lineage goes through all of them in this order in each round; what is touched ends with its
/// process.
pub(crate) const SITUATIONS: [Situation; 5] = [
    situation("nothing but the load", 0, 0),
    situation("1 GiB touched", 0, 1),
    situation("4 GiB touched", 0, 4),
    situation("1,000 idle connections", 1_000, 0),
    situation("10,000 idle connections", 10_000, 0),
];

pub(crate) fn measure(run: &mut Run) {
    let peers: Vec<_> = run.peers.iter().copied().filter(|peer| peer.restart.is_some()).collect();
    for peer in peers.iter().filter(|peer| !peer.can_touch()) {
        let reason = "it is a program of its own, which touches no memory for us";
        run.results.leave_out(peer.name, "restarts with memory touched", reason);
    }
    let rounds = 1..run.rounds(ROUNDS) + 1;
    run.alternate("restarts", &peers, rounds, |run, peer, round| {
        eprintln!("round {round}: {}", peer.name);
        let server = Server::start(peer, &run.workshop)?;
        for situation in &SITUATIONS {
            if let Some(reason) = impossible(run, situation) {
                run.results.leave_out("all", situation.name, &reason);
            } else if situation.gibibytes == 0 || peer.can_touch() {
                let values = restart(run, peer, &server, situation);
                let values = values.map_err(|error| format!("with {}: {error}", situation.name))?;
                run.results.add("restarts", situation.name, peer.name, round, values);
            }
        }
        Ok(())
    });
}

fn impossible(run: &Run, situation: &Situation) -> Option<String> {
    let descriptors = run.workshop.descriptors;
    if connections::at_most(situation.idle, descriptors) < situation.idle {
        return Some(format!("a process may have {descriptors} descriptors"));
    }
    let available = available_memory()?;
    // For what else there is.
    let wanted = situation.gibibytes + 2;
    (situation.gibibytes > 0 && available < wanted)
        .then(|| format!("wants {wanted} GiB of memory, and {available} are available"))
}

/// In GiB, whole ones.
fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? >> 20)
}

fn restart(run: &Run, peer: &Peer, server: &Server, situation: &Situation) -> Outcome<Values> {
    touch(server, situation.gibibytes)?;
    let count = connections::at_most(situation.idle, run.workshop.descriptors);
    let mut idle = Idle::open(server, count)?;
    let steady = Steady::start(server.http1);
    sleep(RAMP + WINDOW);
    let predecessors = predecessors(&steady.seen())?;

    let asked = Instant::now();
    let (signal, pid) = whom_to_signal(peer, server, &predecessors)?;
    server.signal(pid, signal)?;
    let gone = watch(&steady, &predecessors, asked);

    let seen = steady.stop()?;
    let answered = first_answer(&seen, &predecessors, asked)
        .ok_or_else(|| format!("no successor answered within {LIMIT:?}: {}", server.last_words()))?;
    for failure in seen.failures().collect::<BTreeSet<_>>() {
        eprintln!("{}, {}: a request failed: {failure}", peer.name, situation.name);
    }
    let mut values = Values::from([
        ("start_ms".into(), server.start.as_secs_f64() * 1e3),
        ("first_answer_ms".into(), answered.as_secs_f64() * 1e3),
        // At least so much, if it was not seen.
        ("exit_ms".into(), gone.unwrap_or(LIMIT).as_secs_f64() * 1e3),
        ("requests".into(), seen.exchanges.iter().filter(|exchange| exchange.ended >= asked).count() as f64),
        ("closed".into(), seen.closed.iter().filter(|closed| **closed >= asked).count() as f64),
        ("idle".into(), count as f64),
        ("idle_closed".into(), idle.closed() as f64),
        ("failed".into(), (seen.failures().count() + idle.broken()) as f64),
    ]);
    latencies(&mut values, "before", seen.latencies(asked - WINDOW, WINDOW));
    latencies(&mut values, "after", seen.latencies(asked, WINDOW));
    Ok(values)
}

fn touch(server: &Server, gibibytes: u64) -> Outcome<()> {
    if gibibytes > 0 {
        let mut stream = server.way.connect()?;
        stream.socket().set_read_timeout(Some(TOUCHED))?;
        exchange::body(&mut stream, &format!("/touch?mib={}", gibibytes << 10))?;
    }
    Ok(())
}

fn predecessors(seen: &Seen) -> Outcome<Vec<u32>> {
    if let Some(failure) = seen.failures().next() {
        return Err(format!("a request failed before the restart: {failure}").into());
    }
    match seen.pids() {
        pids if pids.is_empty() => Err("nothing was answered before the restart".into()),
        pids => Ok(pids.into_iter().collect()),
    }
}

fn whom_to_signal(peer: &Peer, server: &Server, predecessors: &[u32]) -> Outcome<(Signal, u32)> {
    let restart = peer.restart.as_ref().ok_or("cannot be restarted")?;
    let pid = match (&restart.to, predecessors) {
        (Addressee::Started, _) => server.started(),
        (Addressee::Serving, [pid]) => *pid,
        (Addressee::Serving, many) => return Err(format!("{} processes answer", many.len()).into()),
    };
    Ok((restart.signal, pid))
}

/// Until a successor answers, the predecessors have ended and the window is over; says when they had.
fn watch(steady: &Steady, predecessors: &[u32], asked: Instant) -> Option<Duration> {
    let mut gone = None;
    let (mut succeeded, mut looked_at) = (false, 0);
    while asked.elapsed() < LIMIT {
        if gone.is_none() && !predecessors.iter().any(|pid| is_alive(*pid)) {
            gone = Some(asked.elapsed());
        }
        let seen = steady.seen();
        let news = &seen.exchanges[looked_at..];
        succeeded |=
            news.iter().any(|exchange| matches!(exchange.pid, Ok(pid) if !predecessors.contains(&pid)));
        looked_at = seen.exchanges.len();
        drop(seen);
        if succeeded && gone.is_some() && asked.elapsed() > WINDOW {
            break;
        }
        sleep(Duration::from_millis(1));
    }
    gone
}

fn first_answer(seen: &Seen, predecessors: &[u32], asked: Instant) -> Option<Duration> {
    let by_successor = seen.exchanges.iter().filter(|exchange| match exchange.pid {
        Ok(pid) => exchange.ended >= asked && !predecessors.contains(&pid),
        Err(_) => false,
    });
    by_successor.map(|exchange| exchange.ended - asked).min()
}

fn latencies(values: &mut Values, when: &str, mut latencies: Vec<f64>) {
    latencies.sort_by(f64::total_cmp);
    for (name, at) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
        if !latencies.is_empty() {
            values.insert(format!("{when}_{name}"), quantile(&latencies, at));
        }
    }
}
