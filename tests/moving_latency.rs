//! What clients that keep their connections notice of a restart in time: the latencies in the 500 ms after
//! each handover, and before it while the successor starts, beside those of a steady service, in one run. A
//! table is printed (`--nocapture`), and no time asserted; the figures of a release build count.

mod support;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::{App, Client, Latencies, Mark, Random, declarative, restarts};
use tokio::sync::watch;
use tokio::task::JoinSet;

const CLIENTS: usize = 32;

/// How long a restart is looked for in the latencies.
const AFTER: Duration = Duration::from_millis(500);

/// Between the end of that and the next restart.
const STEADY: Duration = Duration::from_millis(1000);

#[tokio::test(flavor = "multi_thread")]
async fn latency_around_restarts() {
    let app = App::start(declarative());
    app.wait_for_message(Mark::START, "serving").await;
    let load = Asking::start(app.address().await);
    let mut restarted = Vec::new();
    for _ in 0..restarts(3, 30) {
        tokio::time::sleep(STEADY).await;
        let asked = Instant::now();
        app.restart().await;
        restarted.push((asked, Instant::now()));
        tokio::time::sleep(AFTER).await;
    }
    let table = Table::of(load.stop().await, &restarted);
    eprintln!("{table}");
    assert!(table.rows.iter().all(|(_, latencies)| latencies.count() > 0));
    app.stop().await;
}

/// A request's begin, and how long its answer took.
type Sample = (Instant, Duration);

/// Clients, each on a connection of its own, whose every answer must come.
struct Asking {
    clients: JoinSet<()>,
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: watch::Sender<bool>,
}

impl Asking {
    fn start(address: SocketAddr) -> Self {
        let (samples, (stop, stopped)) = (Arc::default(), watch::channel(false));
        let clients = (0..CLIENTS).map(|number| ask(number, address, Arc::clone(&samples), stopped.clone()));
        Self { clients: clients.collect(), samples, stop }
    }

    async fn stop(self) -> Vec<Sample> {
        self.stop.send_replace(true);
        self.clients.join_all().await;
        std::mem::take(&mut self.samples.lock().expect("no client has panicked"))
    }
}

async fn ask(
    number: usize,
    address: SocketAddr,
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: watch::Receiver<bool>,
) {
    let mut random = Random::seeded(number as u64);
    let think = Duration::ZERO..=Duration::from_millis(10);
    let mut client = Client::connect(address).await;
    while !*stop.borrow() {
        tokio::time::sleep(random.duration(&think)).await;
        let begun = Instant::now();
        assert_eq!(client.get("/hello").await.text(), "WORLD!");
        samples.lock().expect("no client has panicked").push((begun, begun.elapsed()));
    }
}

struct Table {
    rows: [(&'static str, Latencies); 3],
}

impl Table {
    /// Restarts from where they were asked for to where they were complete.
    fn of(samples: Vec<Sample>, restarted: &[(Instant, Instant)]) -> Self {
        let names = ["steady", "the successor starts", "the 500 ms after it took over"];
        let mut rows = names.map(|name| (name, Latencies::default()));
        for (begun, latency) in samples {
            let meets = |from: Instant, to: Instant| begun < to && begun + latency >= from;
            let row = restarted.iter().find_map(|(asked, done)| match () {
                () if meets(*done, *done + AFTER) => Some(2),
                () if meets(*asked, *done) => Some(1),
                () => None,
            });
            rows[row.unwrap_or(0)].1.add(latency);
        }
        Self { rows }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<30} {:>9} {:>9} {:>9} {:>9}", "latency", "requests", "p50", "p99", "max")?;
        for (name, latencies) in &self.rows {
            let [p50, p99] = [50.0, 99.0].map(|percent| format!("{:.2?}", latencies.percentile(percent)));
            let max = format!("{:.2?}", latencies.max());
            writeln!(f, "{name:<30} {:>9} {p50:>9} {p99:>9} {max:>9}", latencies.count())?;
        }
        Ok(())
    }
}
