//! Clients that mean harm: what becomes of each, that others are served meanwhile and across a restart, and
//! that the server is afterwards as it was before.

mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use support::hostile::{
    Asks, Attack, Attackers, Base, Bomb, Continuations, Crowd, DataFrames, DeafHead, ENHANCE_YOUR_CALM, End,
    EndlessBody, Flood, HugeHead, MadeReset, ManyHeaders, NoWindow, Outcomes, RapidReset, Round, Silent,
    Sink, SlowBody, SlowHead, SlowPreface, SlowStreams, Slowness, Verdict, on_a_machine_of_its_own,
};
use support::{App, Client, H2Load, Kind, Load, Mark, PATIENCE, Resources, Running, example, restarts};
use tokio::time::timeout;

/// How often `/proc` is asked where the kernel sends no message.
const POLL: Duration = Duration::from_millis(5);

/// Between two bytes of an attacker that is slow.
const PAUSE: Duration = Duration::from_millis(10);

/// Long enough for well-behaved clients, on a machine that has others to serve.
const HEADER_TIMEOUT: (&str, &str) = ("ENDLESS_HEADER_TIMEOUT", "500ms");
const READ_TIMEOUT: (&str, &str) = ("ENDLESS_READ_TIMEOUT", "500ms");
const WRITE_TIMEOUT: (&str, &str) = ("ENDLESS_WRITE_TIMEOUT", "500ms");
const IDLE_TIMEOUT: (&str, &str) = ("ENDLESS_IDLE_TIMEOUT", "1s");

/// In KiB: what the allocator keeps of sixteen heads of a megabyte for the next ones.
const KEPT_MEMORY: u64 = 40 << 10;

/// Of the server's time, nine tenths are the kernel's: it copies the bytes, and finds pages for the 2 MiB that the
/// service, axum's `Bytes`, collects of each. A connection gives way to others after each 64 KiB.
const TAKEN_INTO_MEMORY: &str = "the service takes 2 MiB of each body into memory";

/// The frames are as honest as those of many small messages, and no rate tells the two apart. A connection gives way
/// to others after a hundred of them, and h2 ends it after four thousand that nobody reads; but all of the attacker's
/// keep all of the server's threads busy, which then wait for each other for as long as the kernel lets one run.
const AS_MUCH_AS_MAY_BE_ASKED: &str = "small frames of data are as much work as small requests";

/// One load's share of a round.
const TURN: Duration = Duration::from_secs(1);

/// The attack's share. An attack begins with all that it may have at once, which is a hundredth of a second, and in a
/// second that alone would be the 99th percentile.
const SIEGE: Duration = Duration::from_secs(10);

// ---- HTTP/1

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_comes_too_slowly() {
    Siege::by(SlowHead { pause: PAUSE }).under(HEADER_TIMEOUT).ends_with(End::Answered(408)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_too_slowly() {
    Siege::by(SlowBody { pause: PAUSE }).under(READ_TIMEOUT).ends_with(End::Answered(408)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_100_megabytes() {
    Siege::by(HugeHead { bytes: 100 << 20 }).busy().ends_with(End::Answered(431)).await;
}

/// After the answer, what still comes is thrown away, and only for so long.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_end_of_a_client_that_is_deaf() {
    Siege::by(DeafHead).busy().under(("ENDLESS_HEADER_TIMEOUT", "never")).ends_with(End::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_headers() {
    Siege::by(ManyHeaders { count: 1_000_000 }).busy().ends_with(End::Answered(431)).await;
}

/// More than axum takes into memory is refused by axum.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_of_a_length() {
    let siege = Siege::by(EndlessBody::Length).busy().costing(128).bearing(5.0, TAKEN_INTO_MEMORY);
    siege.ends_with(End::Answered(413)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_in_chunks() {
    let siege = Siege::by(EndlessBody::Chunks).busy().bearing(5.0, TAKEN_INTO_MEMORY);
    siege.ends_with(End::Answered(413)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_in_chunks_of_a_byte() {
    Siege::by(EndlessBody::Crumbs).busy().under(READ_TIMEOUT).ends_with(End::Answered(408)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_of_a_chunk_without_end() {
    Siege::by(EndlessBody::Extension).busy().ends_with(End::Answered(400)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_without_end() {
    Siege::by(EndlessBody::Trailers).busy().ends_with(End::Answered(400)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads() {
    Siege::by(Asks("/bytes/10000")).leads_nowhere().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_that_nobody_reads() {
    Siege::by(Asks("/endless")).under(WRITE_TIMEOUT).ends_with(End::Cut).await;
}

// ---- HTTP/2

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once() {
    Siege::by(RapidReset).busy().ends_with(ENHANCE_YOUR_CALM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_the_server_is_made_to_reset() {
    Siege::by(MadeReset).ends_with(ENHANCE_YOUR_CALM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_continued_without_end() {
    Siege::by(Continuations { bytes: 16000 }).busy().ends_with(ENHANCE_YOUR_CALM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_continued_by_nothing() {
    Siege::by(Continuations { bytes: 0 }).busy().ends_with(ENHANCE_YOUR_CALM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_larger_than_its_bytes() {
    Siege::by(Bomb).busy().ends_with(ENHANCE_YOUR_CALM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings() {
    Siege::by(Flood::Pings).leads_nowhere().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_whose_answers_nobody_reads() {
    Siege::by(Flood::Pings.unread()).leads_nowhere().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings() {
    Siege::by(Flood::Settings).busy().leads_nowhere().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_whose_answers_nobody_reads() {
    Siege::by(Flood::Settings.unread()).leads_nowhere().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn priorities() {
    Siege::by(Flood::Priorities).busy().leads_nowhere().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_are_opened_a_little() {
    Siege::by(Flood::Windows).busy().leads_nowhere().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_are_opened_too_far() {
    Siege::by(Flood::Overflow).busy().ends_with(End::GoAway(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_frames_of_data() {
    Siege::by(DataFrames { bytes: 0 }).busy().ends_with(ENHANCE_YOUR_CALM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_a_byte_of_data() {
    let siege = Siege::by(DataFrames { bytes: 1 }).busy().bearing(10.0, AS_MUCH_AS_MAY_BE_ASKED);
    siege.ends_with(ENHANCE_YOUR_CALM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_whose_window_is_never_opened() {
    Siege::by(NoWindow("/endless")).under(WRITE_TIMEOUT).ends_with(End::Closed).await;
}

/// Each stream is ended by its time, and the connection by what is sent for more than a thousand that have ended.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_streams_that_come_too_slowly() {
    Siege::by(SlowStreams { pause: 10 * PAUSE }).under(READ_TIMEOUT).ends_with(ENHANCE_YOUR_CALM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preface_that_comes_too_slowly() {
    Siege::by(SlowPreface { pause: PAUSE }).under(HEADER_TIMEOUT).ends_with(End::Closed).await;
}

// ---- connections

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing() {
    Siege::by(Silent).of(200).under(IDLE_TIMEOUT).ends_with(End::Closed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_come_and_go() {
    Siege::by(Crowd { stay: Duration::from_millis(20) }).of(64).ends_with(End::Closed).await;
}

/// Who is connected is served, and who comes later waits in the kernel's queue.
#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_there_may_be() {
    let site = Site::open(&[("ENDLESS_MAX_CONNECTIONS", "40")]).await;
    site.is_flooded(site.descriptors + 40).await;
}

/// The server says so once, and goes on when there are descriptors again.
#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_there_are_descriptors() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\""]).arg(example("test_declarative"));
    let site = Site::of(command).await;
    site.is_flooded(site.descriptors + 64).await;
    let troubles = site.app.lines().iter().filter(|line| line.message() == Some(CANNOT_ACCEPT)).count();
    assert!(troubles > 0, "the limit was not met");
}

const CANNOT_ACCEPT: &str = "cannot accept, trying again";

/// An attack on a server, and how.
struct Siege<A> {
    attack: A,
    connections: usize,
    /// Whether the attacker does its worst by asking for work, as much as there is a machine for.
    is_busy: bool,
    /// In MiB, the most memory that the server may need, of which its program itself needs ten.
    cost: u64,
    environment: Vec<(&'static str, &'static str)>,
    /// How much longer others may wait than beside any other attack, and why.
    borne: Option<(f64, &'static str)>,
}

/// What becomes of each of the attacker's connections.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Borne,
    Ended(End),
}

impl<A: Attack> Siege<A> {
    fn by(attack: A) -> Self {
        let environment = Vec::new();
        Self { attack, connections: restarts(3, 16), is_busy: false, cost: 64, environment, borne: None }
    }

    /// Over more connections than usual.
    fn of(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Others get what the attacker itself leaves of the machine: they wait at most twice as long as beside the
    /// same attack upon somebody who throws all away, and not as without any.
    fn busy(mut self) -> Self {
        self.is_busy = true;
        self
    }

    /// The server may use so many MiB of memory.
    fn costing(mut self, cost: u64) -> Self {
        self.cost = cost;
        self
    }

    /// Others may wait so many times as long, for this reason.
    fn bearing(mut self, times: f64, why: &'static str) -> Self {
        self.borne = Some((times, why));
        self
    }

    /// With this variable in the server's environment.
    fn under(mut self, variable: (&'static str, &'static str)) -> Self {
        self.environment.push(variable);
        self
    }

    /// No connection is ended, and none costs more than it should.
    async fn leads_nowhere(self) {
        self.must_fail(Fate::Borne).await;
    }

    /// Each connection gets this end.
    async fn ends_with(self, end: End) {
        self.must_fail(Fate::Ended(end)).await;
    }

    async fn must_fail(self, fate: Fate) {
        let site = Site::open(&self.environment).await;
        let rest = site.rest();
        let slowness = if is_full() { Some(self.slowness(&site).await) } else { None };
        let (clients, attackers) = (Clients::of(&site), self.begin(site.address));
        let peak = self.is_met_with(&site, &attackers, fate).await;
        let predecessor = self.is_outlived_by_a_restart(&site, &clients).await;
        drop(attackers);
        clients.stop().await;
        if let Some(slowness) = slowness {
            slowness.note(peak);
            assert_ne!(slowness.judged(), Verdict::TooSlow);
        }
        assert_eq!(site.app.exit(predecessor).await.code(), Some(0));
        site.is_at_rest_again(rest, 1).await;
        assert_eq!(site.app.stop().await.code(), Some(0));
    }

    fn begin(&self, address: SocketAddr) -> Attackers {
        Attackers::start(self.attack.clone(), address, self.connections)
    }

    /// For a while, and memory stays within its bounds: the most of it, in KiB.
    async fn is_met_with(&self, site: &Site, attackers: &Attackers, fate: Fate) -> u64 {
        attackers.until(|outcomes| fate.has_come(outcomes, self.connections)).await;
        tokio::time::sleep(Duration::from_millis(restarts(300, 10_000) as u64)).await;
        let (outcomes, used) = (attackers.outcomes(), site.rest());
        eprintln!("{outcomes}; the server had {used}");
        assert!(fate.is_all_of(&outcomes), "{fate:?} was expected of {outcomes}");
        assert!(used.peak < self.cost << 10, "{used}");
        used.peak
    }

    /// With and without by turns, for as long as the machine needs to tell.
    async fn slowness(&self, site: &Site) -> Slowness {
        let base = if self.is_busy { Base::Elsewhere } else { Base::Without };
        let mut slowness = Slowness::new(base, self.borne);
        while !slowness.is_clear() {
            let without = site.latency(TURN).await;
            let elsewhere = self.slows_anybody(site).await;
            let attackers = self.begin(site.address);
            let with = site.latency(SIEGE).await;
            attackers.stop();
            slowness.add(Round { without, elsewhere, with });
        }
        slowness
    }

    /// What is the attacker's own work: the latency beside the same attack upon somebody who throws all away.
    async fn slows_anybody(&self, site: &Site) -> Duration {
        let sink = Sink::open().await;
        let attackers = self.begin(sink.address);
        let latency = site.latency(TURN).await;
        attackers.stop();
        latency
    }

    /// In the middle of it, and clients are served before and after. The predecessor.
    async fn is_outlived_by_a_restart(&self, site: &Site, clients: &Clients) -> u32 {
        let predecessor = site.app.serving_pid();
        clients.go_on().await;
        let successor = site.app.restart().await;
        clients.are_answered_by(successor).await;
        clients.go_on().await;
        let used = site.rest();
        assert!(used.peak < self.cost << 10, "{used}");
        predecessor
    }
}

impl Fate {
    fn has_come(self, outcomes: &Outcomes, connections: usize) -> bool {
        match self {
            Self::Borne => outcomes.under_way == connections,
            Self::Ended(end) => outcomes.count(end) >= 2,
        }
    }

    fn is_all_of(self, outcomes: &Outcomes) -> bool {
        match self {
            Self::Borne => outcomes.ended.is_empty(),
            // Whoever hears nothing for as long as the server lingers, is cut off.
            Self::Ended(end) => outcomes.ended.keys().all(|other| [end, End::Cut].contains(other)),
        }
    }
}

struct Site {
    app: App,
    address: SocketAddr,
    /// Before the first client came.
    descriptors: usize,
}

impl Site {
    async fn open(environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(example("test_declarative"));
        command.envs(environment.iter().copied());
        Self::of(command).await
    }

    async fn of(command: Command) -> Self {
        let app = App::start(command);
        app.wait_for_message(Mark::START, "serving").await;
        let address = app.address().await;
        let descriptors = Resources::of(app.serving_pid()).descriptors;
        let site = Self { app, address, descriptors };
        // What is made in memory at the first use is no leak.
        let clients = Clients::of(&site);
        clients.go_on().await;
        clients.stop().await;
        site
    }

    /// By three times as many connections as there may be, each of which says nothing and stays.
    async fn is_flooded(&self, most: usize) {
        let rest = self.rest();
        let clients = Clients::who_stay(self).await;
        let (flood, mut newcomer) = self.flood().await;
        clients.go_on().await;
        assert!(newcomer.is_quiet(), "it has overtaken those who came before");
        let used = self.rest();
        eprintln!("{used}");
        assert!(used.descriptors <= most, "{used}");
        assert!(flood.stop().ended.is_empty(), "nobody was turned away");
        assert_eq!(newcomer.answer().await.text(), "WORLD!");
        clients.stop().await;
        drop(newcomer);
        self.is_at_rest_again(rest, 0).await;
        self.is_restarted_while_flooded().await;
    }

    /// Connections that fill all places, and one who comes after them and asks something.
    async fn flood(&self) -> (Attackers, Client) {
        let flood = Attackers::start(Silent, self.address, 120);
        flood.until(|outcomes| outcomes.under_way == 120).await;
        let mut newcomer = Client::connect(self.address).await;
        newcomer.ask("/hello").await;
        (flood, newcomer)
    }

    async fn is_restarted_while_flooded(&self) {
        let clients = Clients::who_stay(self).await;
        let (flood, mut newcomer) = self.flood().await;
        let predecessor = self.app.serving_pid();
        let successor = self.app.restart().await;
        assert!(flood.stop().ended.is_empty(), "nobody was turned away");
        assert_eq!(newcomer.answer().await.header("x-pid"), Some(successor.to_string().as_str()));
        clients.are_answered_by(successor).await;
        clients.stop().await;
        assert_eq!(self.app.exit(predecessor).await.code(), Some(0));
        assert_eq!(self.app.stop().await.code(), Some(0));
    }

    /// What the server uses when nobody asks anything.
    fn rest(&self) -> Resources {
        Resources::of(self.app.serving_pid())
    }

    /// Of its memory, allocators keep some for later use. A successor has its `channel` to the predecessor,
    /// one descriptor more.
    async fn is_at_rest_again(&self, before: Resources, channel: usize) {
        let most = self.descriptors + channel;
        let is_again = |now: Resources| now.descriptors <= most && now.memory <= before.memory + KEPT_MEMORY;
        let again = timeout(PATIENCE, async {
            while !is_again(self.rest()) {
                tokio::time::sleep(POLL).await;
            }
        });
        let come = again.await;
        let how = format!("before {before}, and at most {most} descriptors; afterwards {}", self.rest());
        assert!(come.is_ok(), "{how}");
        eprintln!("{how}");
    }

    /// The 99th percentile of so much time.
    async fn latency(&self, time: Duration) -> Duration {
        let address = self.address;
        let report = on_a_machine_of_its_own(async move {
            let load = Load::new(address, keep_alive()).connections(4).start();
            tokio::time::sleep(time).await;
            load.stop().await
        });
        let report = report.await;
        report.assert_clean();
        report.latencies.percentile(99.0)
    }
}

fn is_full() -> bool {
    restarts(0, 1) > 0
}

fn keep_alive() -> Kind {
    Kind::KeepAlive { think: Duration::from_millis(1)..=Duration::from_millis(5) }
}

/// Well-behaved ones, of every protocol and habit.
struct Clients(Vec<Running>);

impl Clients {
    fn of(site: &Site) -> Self {
        Self(vec![
            Load::new(site.address, keep_alive()).connections(2).start(),
            Load::new(site.address, Kind::Fresh).start(),
            H2Load::new(site.address).streams(2).start(),
        ])
    }

    /// With connections that they have and keep.
    async fn who_stay(site: &Site) -> Self {
        let clients = Self(vec![
            Load::new(site.address, keep_alive()).connections(2).start(),
            H2Load::new(site.address).streams(2).start(),
        ]);
        clients.go_on().await;
        clients
    }

    /// Waits until each has got some more answers.
    async fn go_on(&self) {
        for client in &self.0 {
            client.until_answered(15).await;
        }
    }

    async fn are_answered_by(&self, pid: u32) {
        for client in &self.0 {
            client.until_answered_by(pid).await;
        }
    }

    /// Nothing was lost.
    async fn stop(self) {
        for client in self.0 {
            client.stop().await.assert_clean();
        }
    }
}
