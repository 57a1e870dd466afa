//! Measures endless beside its peers, and writes what it found:
//!
//! ```text
//! just bench                  # the whole, in about ten minutes: docs/benchmarks.md
//! just bench 3                # three times the rounds
//! just bench 0.2 --only restarts --peer endless --out /tmp/some-directory
//! just bench-render           # the document and its plots again, from the results
//! ```

mod allocations;
mod catalogue;
mod client;
mod connections;
mod document;
mod exchange;
mod idle;
mod load;
mod plot;
mod rates;
mod restarts;
mod results;
mod server;
mod spread;
mod starts;
mod steady;
mod streams;
mod workshop;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use catalogue::Peer;
use results::Results;
use workshop::Workshop;

/// Why a peer is left out, in words.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

type Measure = (&'static str, fn(&mut Run));

const MEASURES: [Measure; 5] = [
    ("rates", rates::measure),
    ("allocations", allocations::measure),
    ("starts", starts::measure),
    ("memory", idle::measure),
    ("restarts", restarts::measure),
];

/// One run of the measuring.
struct Run {
    workshop: Workshop,
    peers: Vec<&'static Peer>,
    scale: f64,
    results: Results,
}

impl Run {
    fn rounds(&self, by_default: f64) -> u32 {
        (by_default * self.scale).round().max(1.0) as u32
    }

    /// Each round has every peer once and begins with another one, so that what the machine does meanwhile
    /// meets all alike. A peer that fails is left out from there.
    fn alternate(
        &mut self,
        measure: &str,
        peers: &[&'static Peer],
        rounds: std::ops::Range<u32>,
        mut take: impl FnMut(&mut Self, &'static Peer, u32) -> Outcome<()>,
    ) {
        let mut taking_part = peers.to_vec();
        for round in rounds {
            let mut order = taking_part.clone();
            let first = round as usize % order.len().max(1);
            order.rotate_left(first);
            for peer in order {
                if let Err(error) = take(self, peer, round) {
                    let reason = format!("from round {round} on: {error}");
                    self.results.leave_out(peer.name, measure, &reason);
                    taking_part.retain(|other| other.name != peer.name);
                }
            }
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = Arguments::parse(&arguments).and_then(|arguments| arguments.carry_out());
    if let Err(error) = outcome {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

struct Arguments {
    scale: f64,
    /// All, if empty.
    measures: Vec<String>,
    /// All whose names begin so, or all.
    peers: Vec<String>,
    directory: PathBuf,
    render_only: bool,
}

impl Arguments {
    fn parse(arguments: &[String]) -> Outcome<Self> {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let mut parsed =
            Self { scale: 1.0, measures: vec![], peers: vec![], directory: docs, render_only: false };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().cloned().ok_or(format!("{argument} wants a value"));
            match argument.as_str() {
                "render" => parsed.render_only = true,
                "--only" => parsed.measures.push(value()?),
                "--peer" => parsed.peers.push(value()?),
                "--out" => parsed.directory = value()?.into(),
                scale => parsed.scale = scale.parse().map_err(|_| format!("what is {scale}?"))?,
            }
        }
        if let Some(unknown) = parsed.measures.iter().find(|name| !MEASURES.iter().any(|(it, _)| it == name))
        {
            return Err(format!("no measure is called {unknown}").into());
        }
        Ok(parsed)
    }

    fn carry_out(self) -> Outcome<()> {
        std::fs::create_dir_all(self.directory.join("benchmarks"))?;
        let file = self.directory.join("benchmarks/results.json");
        if !self.render_only {
            self.measure(&file)?;
        }
        document::write(&Results::read(&file)?, &self.directory)
    }

    fn measure(&self, file: &Path) -> Outcome<()> {
        server::end_all_when_stopped()?;
        let workshop = Workshop::open()?;
        let mut results = Results::new(&workshop, self.scale);
        let mut peers = Vec::new();
        for peer in catalogue::PEERS.iter().filter(|peer| self.wants(peer)) {
            match workshop.missing(peer) {
                Some(reason) => results.leave_out(peer.name, "all", &reason),
                None => peers.push(peer),
            }
        }
        let mut run = Run { workshop, peers, scale: self.scale, results };
        for (name, measure) in MEASURES {
            if self.measures.is_empty() || self.measures.iter().any(|wanted| wanted == name) {
                let begun = std::time::Instant::now();
                eprintln!("== {name}");
                measure(&mut run);
                eprintln!("== {name}: {:.0} s", begun.elapsed().as_secs_f64());
                // What is measured so far outlives what may go wrong later.
                run.results.write(file)?;
            }
        }
        Ok(())
    }

    fn wants(&self, peer: &Peer) -> bool {
        self.peers.is_empty() || self.peers.iter().any(|wanted| peer.name.starts_with(wanted.as_str()))
    }
}
