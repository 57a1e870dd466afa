//! Whatever happens while connections move, each is one process's, and lost only with the process that has it:
//! the fault table of moving.

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use nix::sys::signal::Signal;
use support::faults::{
    Ended, Fault, Mode, Point, Row, Setup, Side, Site, Step, User, accepted_by, pid_in, run_all,
};
use support::{Authority, Client, Line, Mark, PATIENCE, Secure, descriptors, restarts};

use Side::{Predecessor, Successor};

/// What happens while a batch of connections is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happening {
    /// To a process.
    Befalls(Fault, Side),
    /// The clients send their requests.
    Requests,
    /// Half of the clients close.
    Closes,
    /// The successor has hardly a descriptor left.
    Exhausts,
}

/// The way of a batch: sent, taken, committed.
const STEPS: &[Step] = &[
    step(Point::Giving, None),
    step(Point::Gave, Some(Point::HeardMove)),
    step(Point::Gave, Some(Point::SaidTaken)),
    step(Point::HeardTaken, None),
    step(Point::SaidCommit, Some(Point::HeardCommit)),
    step(Point::SaidCommit, None),
];

const fn step(predecessor: Point, successor: Option<Point>) -> Step {
    Step::new(None, Some(predecessor), successor)
}

const HAPPENINGS: &[Happening] = &[
    Happening::Befalls(Fault::Kill, Successor),
    Happening::Befalls(Fault::Kill, Predecessor),
    Happening::Requests,
    Happening::Befalls(Fault::Interlude, Predecessor),
    Happening::Closes,
    Happening::Befalls(Fault::Interlude, Successor),
    Happening::Befalls(Fault::Signal(Signal::SIGHUP), Successor),
    Happening::Befalls(Fault::Signal(Signal::SIGHUP), Predecessor),
    Happening::Befalls(Fault::Signal(Signal::SIGTERM), Predecessor),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_step() {
    let mut rows = Vec::new();
    for (number, step) in STEPS.iter().enumerate() {
        for (at, happening) in HAPPENINGS.iter().enumerate() {
            for (which, mode) in [Mode::Direct, Mode::Supervised].into_iter().enumerate() {
                let chosen = at == (2 * number + which) % HAPPENINGS.len() || at < 2 && which == number % 2;
                let user = [User::Same, User::Unprivileged][(number + at) % 2];
                if restarts(usize::from(chosen), 1) == 1 {
                    rows.push(row(Setup::new(mode, user), *step, *happening));
                }
            }
        }
    }
    run_all(rows).await;
}

/// Those over TLS do not move, and what happens to others on their way costs them nothing: by default a few rows.
#[tokio::test(flavor = "multi_thread")]
async fn every_step_beside_clients_over_tls() {
    let mut rows = Vec::new();
    for (number, step) in STEPS.iter().enumerate() {
        for (at, happening) in HAPPENINGS.iter().enumerate() {
            let mode = [Mode::Direct, Mode::Supervised][(number + at) % 2];
            let user = [User::Same, User::Unprivileged][number % 2];
            if restarts(usize::from(at == number && number % 2 == 0), 1) == 1 {
                let setup = Setup { program: "test_attributed", ..Setup::new(mode, user) };
                rows.push(row_beside_tls(setup, *step, *happening));
            }
        }
    }
    run_all(rows).await;
}

/// Connections go back after as long as a successor may take to answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_stands_still_or_is_full_leaves_connections_where_they_are() {
    let halt = Happening::Befalls(Fault::Halt, Successor);
    let rows = [Mode::Direct, Mode::Supervised].into_iter().flat_map(|mode| {
        let setup = Setup::new(mode, User::Unprivileged);
        let taking = step(Point::Gave, Some(Point::HeardMove));
        [row(setup, taking, halt), row(setup, step(Point::Giving, None), Happening::Exhausts)]
    });
    run_all(rows.collect()).await;
}

fn row(setup: Setup, step: Step, happening: Happening) -> Row {
    let name = format!("{:?}, {:?}, {step}: {happening:?}", setup.mode, setup.user);
    Row::new(name, disturb(setup, step, happening))
}

fn row_beside_tls(setup: Setup, step: Step, happening: Happening) -> Row {
    let name = format!("beside TLS, {:?}, {:?}, {step}: {happening:?}", setup.mode, setup.user);
    Row::new(name, disturb_beside_tls(setup, step, happening))
}

/// One client, and what it has not sent yet of its request.
struct Idle {
    client: Client,
    rest: &'static str,
}

impl Idle {
    fn port(&self) -> u16 {
        self.client.local().expect("it is open").port()
    }

    async fn ask(&mut self) {
        self.client.send(self.rest).await;
    }
}

/// Of each kind some: fresh, between two requests, and in the middle of a head.
async fn idle_clients(count: usize, address: SocketAddr, secure: Option<&Secure>) -> Vec<Idle> {
    const REQUEST: &str = "GET /hello HTTP/1.1\r\nHost: test\r\n\r\n";
    const BEGINNING: &str = "GET /hello HTTP/1.1\r\nHo";
    let mut clients = Vec::new();
    for number in 0..count {
        let mut client = match secure {
            Some(secure) => Client::secure(address, secure).await,
            None => Client::connect(address).await,
        };
        if number % 4 > 0 {
            assert_eq!(client.get("/hello").await.text(), "WORLD!");
        }
        let rest = match number % 4 {
            3 => {
                client.send(BEGINNING).await;
                &REQUEST[BEGINNING.len()..]
            }
            _ => REQUEST,
        };
        clients.push(Idle { client, rest });
    }
    clients
}

async fn disturb(setup: Setup, step: Step, happening: Happening) {
    disturb_site(Site::open(setup).await, Vec::new(), step, happening).await;
}

async fn disturb_beside_tls(setup: Setup, step: Step, happening: Happening) {
    let authority = Authority::new();
    let files = authority.issue("server", &["localhost"]).pair();
    let site = Site::open_with(setup, |command| {
        // Who is not asked anything is not closed before it asks.
        command.env("ENDLESS_IDLE_GRACE", "1h");
        command.args(["127.0.0.1:0".to_owned(), format!("127.0.0.2:0={files}")]);
    });
    let mut site = site.await;
    // The lines come in any order.
    let mut addresses = site.app.addresses(2).await;
    addresses.sort();
    let [plain, secured] = [0, 1].map(|at| addresses[at].parse().expect("an address"));
    site.address = plain;
    let stayers = idle_clients(6, secured, Some(&Secure::trusting(&authority))).await;
    disturb_site(site, stayers, step, happening).await;
}

/// With clients that do not move beside those that do.
async fn disturb_site(site: Site, mut stayers: Vec<Idle>, step: Step, happening: Happening) {
    let mut clients = idle_clients(12, site.address, None).await;
    step.points().into_iter().for_each(|point| site.points.hold(point));
    site.hang_up(site.first);
    let successor = generation(&site, 1).await;
    for point in step.points() {
        site.points.reached(point).await;
    }

    let asked = happening == Happening::Requests || is_signal(happening);
    if asked {
        for idle in clients.iter_mut().chain(&mut stayers) {
            idle.ask().await;
        }
    }
    let lost = befall(&site, &mut clients, successor, happening).await;
    step.points().into_iter().for_each(|point| site.points.release(point));

    for mut idle in clients {
        if lost.contains(&idle.port()) {
            idle.client.broken().await;
            continue;
        }
        if !asked {
            idle.ask().await;
        }
        assert_eq!(idle.client.answer().await.text(), "WORLD!");
    }
    for mut idle in stayers {
        if happening == Happening::Befalls(Fault::Kill, Predecessor) {
            idle.client.broken().await;
            continue;
        }
        if !asked {
            idle.ask().await;
        }
        stays_to_the_end(&mut idle.client, site.first).await;
    }
    finish(site, successor, happening).await;
}

/// It is answered once more by whom it knows, and closed with close_notify.
async fn stays_to_the_end(client: &mut Client, predecessor: u32) {
    let answer = client.answer().await;
    assert_eq!((answer.text().as_str(), answer.close), ("WORLD!", true));
    assert_eq!(answer.header("x-pid"), Some(predecessor.to_string().as_str()));
    client.closed().await;
}

fn is_signal(happening: Happening) -> bool {
    matches!(happening, Happening::Befalls(Fault::Signal(_), _))
}

/// Returns the ports of the clients that are lost by it: those whose connections the process has, and nobody
/// that lives. What a predecessor has sent and not given up is its own.
async fn befall(site: &Site, clients: &mut Vec<Idle>, successor: u32, happening: Happening) -> BTreeSet<u16> {
    match happening {
        Happening::Befalls(Fault::Kill, Successor) => {
            let kept = accepted_by(site.first, site.address);
            &Fault::Kill.befall(site, successor).await - &kept
        }
        Happening::Befalls(Fault::Kill, Predecessor) => Fault::Kill.befall(site, site.first).await,
        Happening::Befalls(fault, Successor) => {
            fault.befall(site, successor).await;
            BTreeSet::new()
        }
        Happening::Befalls(fault, _) => {
            fault.befall(site, site.first).await;
            BTreeSet::new()
        }
        Happening::Requests => BTreeSet::new(),
        Happening::Closes => {
            let mut number = 0;
            clients.retain(|_| {
                number += 1;
                number % 2 == 0
            });
            BTreeSet::new()
        }
        Happening::Exhausts => {
            site.lower_limit_of(successor, "nofile", descriptors(successor) + 3);
            BTreeSet::new()
        }
    }
}

/// The predecessor ends, and whoever serves restarts as if nothing had been.
async fn finish(site: Site, successor: u32, happening: Happening) {
    if happening != Happening::Befalls(Fault::Kill, Predecessor) {
        site.ends_well(site.first).await;
    }
    let serving = match happening {
        // Who dies after it has confirmed is replaced by a supervisor alone.
        Happening::Befalls(Fault::Kill | Fault::Halt, Successor) if site.supervisor().is_none() => return,
        Happening::Befalls(Fault::Halt, Successor) => {
            site.kill(successor);
            generation(&site, 2).await
        }
        Happening::Befalls(Fault::Kill, Successor) => generation(&site, 2).await,
        Happening::Befalls(Fault::Signal(Signal::SIGHUP), Successor) => {
            site.ends_well(successor).await;
            generation(&site, 2).await
        }
        _ => successor,
    };
    site.repair();
    let ended = Ended::Served { by: serving, at: site.address };
    site.ends(ended).await;
}

/// The PID of this generation; waits until it serves.
async fn generation(site: &Site, number: u32) -> u32 {
    let number = number.to_string();
    let serves = |line: &Line| line.message() == Some("serving") && line.field("generation") == Some(&number);
    pid_in(&site.app.wait_for(Mark::START, serves, PATIENCE).await, "pid")
}

/// A successor that takes the listener over and misuses the channel for connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_misuses_the_channel_gets_no_connection() {
    let plans = ["moving garbage", "moving close", "moving taken", "moving nothing"];
    let rows = plans.into_iter().enumerate().map(|(number, plan)| {
        let user = [User::Same, User::Unprivileged][number % 2];
        Row::new(plan.to_owned(), misused(Setup::new(Mode::Direct, user), plan))
    });
    run_all(rows.collect()).await;
}

async fn misused(setup: Setup, plan: &'static str) {
    let site = Site::open(setup).await;
    let mut clients = idle_clients(12, site.address, None).await;
    site.ship_program("test_impostor");
    site.plan.set(&format!("take, ready, await go, {plan}, confirm, serve"));
    site.hang_up(site.first);
    site.says(Mark::START, site.first, "no more connections are moved").await;
    for idle in &mut clients {
        idle.ask().await;
        let answer = idle.client.answer().await;
        assert_eq!(answer.header("x-pid"), Some(site.first.to_string().as_str()), "{plan}");
        assert!(answer.close, "{plan}");
    }
    site.ends_well(site.first).await;
}
