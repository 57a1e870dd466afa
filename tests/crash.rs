//! The generation that serves is killed while clients connect: nobody is refused, and who was not accepted by
//! the dead one is answered by its replacement. What it costs is printed (`--nocapture`).

mod support;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Connection, Response, Supervised, alive, declarative, freeze, patiently, restarts};
use tokio::sync::watch;
use tokio::task::JoinSet;

const BACKLOG: usize = 128;
const CLIENTS: usize = 32;

async fn start() -> (Supervised, SocketAddr) {
    let mut command = declarative();
    command.env("ENDLESS_BACKLOG", BACKLOG.to_string()).env("ENDLESS_RESPAWN", "1000 in 1s");
    let service = Supervised::start(command).await;
    let address = service.address().await;
    (service, address)
}

/// A request on a connection of its own.
struct Asked {
    begun: Instant,
    ended: Instant,
    /// Who has answered.
    outcome: Result<u32, Fault>,
}

#[derive(Debug)]
struct Fault {
    connected: bool,
    what: String,
}

async fn ask(address: SocketAddr, connected: impl FnOnce()) -> Asked {
    let begun = Instant::now();
    let outcome = match patiently(Connection::open(address)).await {
        Ok(connection) => {
            connected();
            let answer = patiently(hello(connection)).await;
            answer.map(|answer| pid_of(&answer)).map_err(|what| Fault { connected: true, what })
        }
        Err(error) => Err(Fault { connected: false, what: error.to_string() }),
    };
    Asked { begun, ended: Instant::now(), outcome }
}

async fn hello(mut connection: Connection) -> Result<Response, String> {
    let request = b"GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    connection.send(request).await.map_err(|error| error.to_string())?;
    connection.response().await.map_err(|fault| fault.to_string())
}

fn pid_of(answer: &Response) -> u32 {
    assert_eq!(answer.text(), "WORLD!");
    answer.header("x-pid").and_then(|pid| pid.parse().ok()).expect("it names its process")
}

/// Clients that each ask on one fresh connection after the other.
struct Clients {
    tasks: JoinSet<Vec<Asked>>,
    answered: Arc<AtomicUsize>,
    stop: watch::Sender<bool>,
}

impl Clients {
    fn start(address: SocketAddr) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (answered, mut tasks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
        for _ in 0..CLIENTS {
            let (answered, stopped) = (Arc::clone(&answered), stopped.clone());
            tasks.spawn(async move {
                let mut all = Vec::new();
                while !*stopped.borrow() {
                    let asked = ask(address, || {}).await;
                    answered.fetch_add(asked.outcome.is_ok().into(), Relaxed);
                    all.push(asked);
                }
                all
            });
        }
        Self { tasks, answered, stop }
    }

    /// Waits for so many answers more.
    async fn go_on_for(&self, count: usize) {
        let goal = self.answered.load(Relaxed) + count;
        until(|| self.answered.load(Relaxed) >= goal).await;
    }

    async fn stop(mut self) -> Vec<Asked> {
        self.stop.send_replace(true);
        let mut all = Vec::new();
        while let Some(asked) = self.tasks.join_next().await {
            all.extend(asked.expect("no panic"));
        }
        all
    }
}

#[track_caller]
fn until(come: impl Fn() -> bool) -> impl Future<Output = ()> {
    patiently(async move {
        while !come() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
}

/// Kills it; when this returns, it accepts nothing any more.
async fn kill(service: &Supervised, pid: u32) -> Instant {
    service.signal(pid, Signal::SIGKILL);
    until(|| !alive(pid)).await;
    Instant::now()
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_nobody_is_refused_and_only_what_was_in_flight_is_lost() {
    let (service, address) = start().await;
    for _ in 0..restarts(2, 20) {
        let (mark, dying, before) = (service.mark(), service.serving_pid(), Counters::now());
        let clients = Clients::start(address);
        clients.go_on_for(200).await;
        let dead_at = kill(&service, dying).await;
        let respawned = service.serving(mark).await;
        clients.go_on_for(200).await;
        let asked = clients.stop().await;

        let cost = Cost::of(&asked, dead_at, respawned);
        eprintln!("{cost}; {}", Counters::since(&before));
        let wronged = faults(asked.iter().filter(|asked| asked.begun >= dead_at));
        assert!(wronged.is_empty(), "begun when it was dead, and not answered: {wronged:?}");
        assert_eq!(cost.refused, 0);
        assert!(cost.lost <= CLIENTS, "more than were in flight: {cost}");
    }
    service.terminate().await;
}

/// Nobody accepts before the first of them connects, so none of them is the dead one's.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_beyond_the_backlog_is_answered_to_the_last() {
    let (service, address) = start().await;
    for _ in 0..restarts(1, 10) {
        let (mark, dying, before) = (service.mark(), service.serving_pid(), Counters::now());
        freeze(&service, dying).await;
        let arrivals = restarts(3 * BACKLOG, 8 * BACKLOG);
        let connected = Arc::new(AtomicUsize::new(0));
        let mut burst = JoinSet::new();
        for _ in 0..arrivals {
            let connected = Arc::clone(&connected);
            burst.spawn(ask(address, move || _ = connected.fetch_add(1, Relaxed)));
        }
        until(|| connected.load(Relaxed) >= BACKLOG).await;
        assert!(connected.load(Relaxed) < arrivals, "the backlog takes them all");
        let dead_at = kill(&service, dying).await;
        let asked = burst.join_all().await;

        let respawned = service.serving(mark).await;
        let cost = Cost::of(&asked, dead_at, respawned);
        eprintln!("{cost}; {}", Counters::since(&before));
        assert_eq!((cost.refused, cost.lost), (0, 0), "{:?}", faults(&asked));
        let answered_by = |asked: &Asked| *asked.outcome.as_ref().expect("answered");
        assert!(asked.iter().all(|asked| answered_by(asked) == respawned), "the dead one has answered");
    }
    service.terminate().await;
}

fn faults<'a>(all: impl IntoIterator<Item = &'a Asked>) -> Vec<&'a str> {
    all.into_iter().filter_map(|asked| Some(asked.outcome.as_ref().err()?.what.as_str())).collect()
}

/// What clients have seen of a death.
struct Cost {
    requests: usize,
    refused: usize,
    lost: usize,
    /// From the death to the first answer of the replacement.
    next_answer: Duration,
    /// The longest that anybody waited for an answer.
    longest: Duration,
}

impl Cost {
    fn of(all: &[Asked], dead_at: Instant, respawned: u32) -> Self {
        let count = |wanted: fn(&Fault) -> bool| {
            all.iter().filter(|asked| asked.outcome.as_ref().is_err_and(wanted)).count()
        };
        let by_respawned =
            all.iter().filter(|asked| asked.outcome.as_ref().is_ok_and(|pid| *pid == respawned));
        let next = by_respawned.map(|asked| asked.ended).min().expect("it answers");
        let times = all.iter().filter(|asked| asked.outcome.is_ok()).map(|asked| asked.ended - asked.begun);
        Self {
            requests: all.len(),
            refused: count(|fault| !fault.connected),
            lost: count(|fault| fault.connected),
            next_answer: next.saturating_duration_since(dead_at),
            longest: times.max().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, refused, lost, next_answer, longest } = self;
        write!(
            f,
            "{requests} requests: {refused} refused, {lost} lost in flight; the next answer after \
             {next_answer:.1?}, the longest wait {longest:.1?}"
        )
    }
}

/// What the kernel counts, for all of the machine.
struct Counters(BTreeMap<String, u64>);

const COUNTED: [&str; 4] = ["ListenOverflows", "ListenDrops", "TCPSynRetrans", "RetransSegs"];

impl Counters {
    fn now() -> Self {
        let files = ["/proc/net/netstat", "/proc/net/snmp"];
        let text: String = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
        // A line of names, and a line of their values.
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
        let pairs = lines.as_chunks::<2>().0.iter().flat_map(|[names, values]| names.iter().zip(values));
        let counted = pairs.filter(|(name, _)| COUNTED.contains(name));
        Self(counted.map(|(name, value)| ((*name).to_owned(), value.parse().unwrap_or(0))).collect())
    }

    /// What has come since, in words.
    fn since(before: &Self) -> String {
        let now = Self::now();
        let more = |name: &str| {
            let [then, now] = [before, &now].map(|counters| counters.0.get(name).copied().unwrap_or(0));
            format!("{name} +{}", now.saturating_sub(then))
        };
        COUNTED.map(more).join(", ")
    }
}
