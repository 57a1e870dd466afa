//! What must hold after a fault.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::casualties::accepted_by;
use super::fault::{Fault, Side, has_slept};
use super::points::{Point, Step};
use super::site::{Asked, Setup, Site, assert_no_other_loss};
use crate::support::client::patiently;
use crate::support::process::{Line, Mark, PATIENCE, alive, children};
use crate::support::running::Running;

/// How a restart ends, and with it what a client, a shell and a reader of the log see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The successor serves and the predecessor has ended in an orderly way.
    Restarted,
    /// And then once more, because somebody asked for it meanwhile.
    RestartedTwice,
    /// Somebody serves who speaks the protocol, and nothing else of it.
    TakenOver,
    /// The predecessor serves; the log gives a reason with one of these words.
    CalledOff(&'static [&'static str]),
    /// `Restarted` or `CalledOff`, whatever the reason: how little is too little is not ours to know.
    Either,
    /// Both have ended in an orderly way, with everything answered that was asked.
    Stopped,
    /// The predecessor was killed; the successor serves with its listeners.
    SuccessorGoesOn,
    /// The predecessor was killed before it had handed its listeners over; the successor has its own.
    SuccessorBindsAnew,
    /// Whoever had the listeners was killed.
    NobodyServes,
    /// Whoever was to serve was killed; its supervisor has started another one, with the same listeners.
    Replaced,
    /// The supervisor was killed; whoever served has ended in an orderly way, and whoever did not at once.
    Orphaned,
}

/// Who serves in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Served { by: u32, at: SocketAddr },
    Over,
}

impl Outcome {
    fn is_end(self) -> bool {
        matches!(self, Self::Stopped | Self::NobodyServes | Self::Orphaned)
    }

    /// Whether the listeners, and with them their queues, are kept by somebody.
    fn keeps_listeners(self) -> bool {
        !matches!(self, Self::NobodyServes | Self::SuccessorBindsAnew | Self::Orphaned)
    }
}

/// No build has it.
const NEWER: u32 = 1000;

/// A restart under way.
#[derive(Debug)]
pub(crate) struct Restart<'a> {
    site: &'a Site,
    mark: Mark,
    first: u32,
}

impl<'a> Restart<'a> {
    pub(crate) fn of(site: &'a Site) -> Self {
        Self { site, mark: site.app.mark(), first: site.first }
    }
}

/// Stops a restart at `step`, does the worst, lets it go on, and finds the outcome.
pub(crate) async fn disturb(setup: Setup, step: Step, fault: Fault, side: Side, outcome: Outcome) {
    let site = Site::open(setup).await;
    let restart = Restart::of(&site);
    let witnesses = Witnesses::call(&site, outcome).await;
    let successor = restart.reach(step).await;
    let target = match side {
        Side::Supervisor => site.supervisor().expect("there is one"),
        Side::Predecessor => restart.first,
        Side::Successor => successor.expect("there is one"),
    };

    // One connection before and one after, whoever accepts just then.
    let mut waiting = vec![site.ask("/hello").await];
    let lost = fault.befall(&site, target).await;
    if outcome.keeps_listeners() {
        waiting.push(site.ask("/hello").await);
    }
    if step.nobody_accepts() && outcome.keeps_listeners() {
        restart.has_accepted_none(&waiting, successor).await;
    }
    let target_lives = fault != Fault::Kill && fault != Fault::Halt;
    let will_serve = side == Side::Predecessor || target_lives;
    restart.let_go(step, will_serve.then_some(successor).flatten()).await;

    let ended = restart.finds(outcome).await;
    if outcome.keeps_listeners() {
        are_answered(waiting, &lost).await;
    }
    witnesses.testify(outcome, &lost).await;
    site.ends(ended).await;
}

/// Breaks what the next generation starts from, restarts, finds the outcome, and makes it whole again.
pub(crate) async fn start_badly(site: Site, spoil: impl FnOnce(&Site), outcome: Outcome) {
    let restart = Restart::of(&site);
    let witnesses = Witnesses::call(&site, outcome).await;
    spoil(&site);
    site.hang_up(restart.first);
    let waiting = vec![site.ask("/hello").await];
    let ended = restart.finds(outcome).await;
    site.repair();
    are_answered(waiting, &BTreeSet::new()).await;
    witnesses.testify(outcome, &BTreeSet::new()).await;
    if outcome != Outcome::TakenOver {
        site.ends(ended).await;
    }
}

impl Restart<'_> {
    /// Asks for a restart, and waits until all have come to `step`; returns the successor.
    pub(crate) async fn reach(&self, step: Step) -> Option<u32> {
        let (points, first) = (&self.site.points, self.first);
        step.points().into_iter().for_each(|point| points.hold(point));
        if step.has(Point::Becoming) {
            points.set_version(NEWER);
        }
        self.site.hang_up(first);
        let supervisor = self.site.supervisor();
        if let Some(point) = step.supervisor {
            points.reached_by(point, |pid| Some(pid) == supervisor).await;
        }
        if let Some(point) = step.predecessor {
            points.reached_by(point, |pid| pid == first).await;
        }
        match step.successor {
            Some(point) => {
                Some(points.reached_by(point, |pid| pid != first && Some(pid) != supervisor).await)
            }
            None => None,
        }
    }

    /// Two that accept at a time would be found here.
    async fn has_accepted_none(&self, clients: &[Asked], successor: Option<u32>) {
        let ports: BTreeSet<u16> = clients.iter().map(Asked::port).collect();
        for pid in [Some(self.first), successor].into_iter().flatten().filter(|pid| alive(*pid)) {
            patiently(has_slept(pid)).await;
            let accepted = accepted_by(pid, self.site.address);
            assert!(accepted.is_disjoint(&ports), "{pid} has accepted, and nobody may");
        }
    }

    /// Lets all go on; whoever counts the seconds until a confirmation, only when the successor has had all the
    /// time that it needs.
    async fn let_go(&self, step: Step, living_successor: Option<u32>) {
        for point in step.points() {
            if let (Point::SaidGo, Some(pid)) = (point, living_successor) {
                self.site.says(self.mark, pid, "serving").await;
            }
            self.site.points.release(point);
        }
    }

    pub(crate) async fn finds(&self, outcome: Outcome) -> Ended {
        match outcome {
            Outcome::Restarted => self.finds_restarted(1).await,
            Outcome::RestartedTwice => self.finds_restarted(2).await,
            Outcome::CalledOff(reasons) => self.finds_called_off(reasons).await,
            Outcome::TakenOver => self.finds_taken_over().await,
            Outcome::Either => self.finds_either().await,
            Outcome::Stopped => self.finds_stopped().await,
            Outcome::SuccessorGoesOn => self.finds_alone(self.site.address).await,
            Outcome::SuccessorBindsAnew => self.finds_bound_anew().await,
            Outcome::NobodyServes => self.finds_nobody().await,
            Outcome::Replaced => self.finds_replaced().await,
            Outcome::Orphaned => self.finds_orphaned().await,
        }
    }

    /// The last of `times` successors serves, and all before it have said so and ended.
    async fn finds_restarted(&self, times: usize) -> Ended {
        let mut serving = self.first;
        for _ in 0..times {
            let line = self.site.says(self.mark, serving, "handed over").await;
            let successor = pid_in(&line, "successor");
            self.site.says(self.mark, successor, "serving").await;
            self.site.ends_well(serving).await;
            assert_eq!(self.site.said(serving, "handed over"), 1);
            serving = successor;
        }
        Ended::Served { by: serving, at: self.site.address }
    }

    async fn finds_taken_over(&self) -> Ended {
        let line = self.site.says(self.mark, self.first, "handed over").await;
        self.site.ends_well(self.first).await;
        Ended::Served { by: pid_in(&line, "successor"), at: self.site.address }
    }

    async fn finds_called_off(&self, reasons: &[&str]) -> Ended {
        let line = self.site.says(self.mark, self.first, "restart called off").await;
        let reason = line.field("reason").expect("a reason");
        assert!(reasons.iter().any(|words| reason.contains(words)), "{reason:?} is none of {reasons:?}");
        assert_eq!(self.site.said(self.first, "restart called off"), 1);
        let (starter, left) = match self.site.supervisor() {
            None => (self.first, vec![]),
            Some(supervisor) => (supervisor, vec![self.first]),
        };
        assert_eq!(children(starter), left, "the successor is gone and reaped");
        Ended::Served { by: self.first, at: self.site.address }
    }

    async fn finds_either(&self) -> Ended {
        let outcome = |line: &Line| {
            matches!(line.message(), Some("handed over" | "restart called off"))
                && line.field("pid") == Some(&self.first.to_string())
        };
        let line = self.site.app.wait_for(self.mark, outcome, PATIENCE).await;
        match line.message() {
            Some("handed over") => self.finds_restarted(1).await,
            _ => self.finds_called_off(&[""]).await,
        }
    }

    async fn finds_stopped(&self) -> Ended {
        self.site.is_over(self.first).await;
        let lines = self.site.app.lines();
        for line in lines.iter().filter(|line| line.message() == Some("serving")) {
            self.site.says(self.mark, pid_in(line, "pid"), "drained").await;
        }
        Ended::Over
    }

    async fn finds_alone(&self, address: SocketAddr) -> Ended {
        self.site.is_dead(self.first).await;
        let served = |line: &Line| line.message() == Some("serving") && line.field("generation") == Some("1");
        let line = self.site.app.wait_for(self.mark, served, PATIENCE).await;
        let successor = pid_in(&line, "pid");
        assert_eq!(self.site.said(successor, "serving"), 1);
        // It is the one that was under way.
        let otherwise = ["restart called off", "the generation has ended: replacing it"];
        let told = |line: &Line| line.message().is_some_and(|message| otherwise.contains(&message));
        assert!(!self.site.app.lines().iter().any(told));
        let listening = self.site.says(self.mark, successor, "listening").await;
        assert_eq!(listening.field("address"), Some(address.to_string().as_str()));
        Ended::Served { by: successor, at: address }
    }

    /// A third generation has come, and the queue was kept meanwhile.
    async fn finds_replaced(&self) -> Ended {
        let told = |line: &Line| line.message() == Some("the generation has ended: replacing it");
        let line = self.site.app.wait_for(self.mark, told, PATIENCE).await;
        let serving = self.site.app.wait_for_message(line.after(), "serving").await;
        // Who was called off is among those that were never to serve.
        self.site.expect_killed(pid_in(&line, "pid"));
        // One that had confirmed was a generation; one that had not was none.
        let generation = 1 + self.site.said(self.first, "handed over");
        assert_eq!(serving.field("generation"), Some(generation.to_string().as_str()));
        let by = pid_in(&serving, "pid");
        let listening = self.site.says(self.mark, by, "listening").await;
        assert_eq!(listening.field("address"), Some(self.site.address.to_string().as_str()));
        Ended::Served { by, at: self.site.address }
    }

    async fn finds_orphaned(&self) -> Ended {
        let (app, supervisor) = (&self.site.app, self.site.supervisor().expect("there was one"));
        assert_eq!(app.exit(supervisor).await.code(), None, "it was killed");
        patiently(app.ended()).await;
        for pid in app.generations().into_iter().filter(|pid| *pid != supervisor) {
            let has_served = self.site.said(pid, "serving") > 0;
            assert_eq!(self.site.said(pid, "drained"), usize::from(has_served), "{pid}");
            assert_eq!(app.exit(pid).await.code(), Some(i32::from(!has_served)), "{pid}");
        }
        if self.site.said(self.first, "handed over") == 0 {
            assert_eq!(self.site.said(self.first, "the supervisor is lost: this process ends"), 1);
        }
        Ended::Over
    }

    async fn finds_bound_anew(&self) -> Ended {
        let listening = |line: &Line| line.message() == Some("listening");
        let line = self.site.app.wait_for(self.mark, listening, PATIENCE).await;
        let address = line.field("address").and_then(|address| address.parse().ok());
        self.finds_alone(address.expect("it names its address")).await
    }

    async fn finds_nobody(&self) -> Ended {
        self.site.app.ended().await;
        assert!(!alive(self.first));
        if self.site.said(self.first, "draining") > 0 {
            let told = "the successor has ended while its predecessor still drains";
            self.site.app.wait_for(self.mark, |line| line.message() == Some(told), PATIENCE).await;
        }
        let refused = tokio::net::TcpStream::connect(self.site.address).await;
        assert!(refused.is_err(), "somebody listens");
        Ended::Over
    }
}

impl Site {
    /// Once the dust has settled: nothing is left behind, and the next restart succeeds.
    pub(crate) async fn ends(self, ended: Ended) {
        let Ended::Served { by, at } = ended else { return };
        self.is_tidy(by).await;
        let successor = self.restarts(by, at).await;
        self.is_tidy(successor).await;
        self.close(successor).await;
    }
}

/// Clients from before the restart to its end.
enum Witnesses {
    /// Constant load.
    Load(Vec<Running>),
    /// Requests in flight, where the last listener is closed in the end: whoever connects at that moment is
    /// reset by the kernel, whatever the server does.
    InFlight(Vec<Asked>),
}

impl Witnesses {
    async fn call(site: &Site, outcome: Outcome) -> Self {
        if !outcome.is_end() {
            return Self::Load(site.load(site.address).await);
        }
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(site.ask("/until_draining").await);
        }
        site.until_busy(4, 4).await;
        Self::InFlight(clients)
    }

    async fn testify(self, outcome: Outcome, lost: &BTreeSet<u16>) {
        match self {
            Self::Load(loads) if outcome.keeps_listeners() => {
                for load in &loads {
                    load.until_answered(8).await;
                }
                assert_no_other_loss(loads, lost).await;
            }
            Self::Load(loads) => drop(loads),
            Self::InFlight(clients) => {
                for asked in without(clients, lost) {
                    let (answer, mut client) = asked.answer().await;
                    assert_eq!(answer.text(), "draining");
                    client.closed().await;
                }
            }
        }
    }
}

async fn are_answered(clients: Vec<Asked>, lost: &BTreeSet<u16>) {
    for asked in without(clients, lost) {
        assert_eq!(asked.answer().await.0.text(), "WORLD!");
    }
}

/// Those whose connections were not accepted by the process that was killed.
fn without(clients: Vec<Asked>, lost: &BTreeSet<u16>) -> impl Iterator<Item = Asked> {
    clients.into_iter().filter(|client| !lost.contains(&client.port()))
}

pub(crate) fn pid_in(line: &Line, name: &str) -> u32 {
    line.field(name).and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("no {name} in {line}"))
}
