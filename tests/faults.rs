//! Whatever happens to either side at any step of a restart, nobody is lost but the connections of a process
//! that was killed: the fault table of the protocol's steps.

mod support;

use nix::sys::signal::Signal;
use support::faults::{Fault, Mode, Outcome, Point, Row, Setup, Side, Step, User, disturb, run_all};
use support::restarts;

use Outcome::{
    CalledOff, NobodyServes, Restarted, RestartedTwice, Stopped, SuccessorBindsAnew, SuccessorGoesOn,
};
use Side::{Predecessor, Successor};

/// What becomes of a restart at one of its steps.
struct Column {
    step: Step,
    /// If nothing happens, or nothing that matters.
    undisturbed: Outcome,
    /// SIGKILL, of the predecessor and of the successor.
    killed: [Outcome; 2],
    /// SIGTERM or SIGINT.
    stopped: [Outcome; 2],
    /// SIGHUP.
    asked_again: [Outcome; 2],
}

const BEFORE_READY: Outcome = CalledOff(&["the successor was killed by SIGKILL before it was ready"]);
const AT_THE_LAST_MOMENT: Outcome = CalledOff(&[
    "the successor was killed by SIGKILL at the last moment",
    "the successor closed the channel at the last moment",
]);
/// One that is stopped closes the channel; whether it has ended by the time that this is seen, is chance.
const NOT_WANTED: Outcome =
    CalledOff(&["the successor exited with status 0", "the successor closed the channel"]);
/// There is no successor yet.
const NOBODY: Outcome = NobodyServes;

#[rustfmt::skip]
const DIRECT: &[Column] = &[
    // Before anything is started, the predecessor is the service.
    column(Point::Asked,          None,                   [NobodyServes, NOBODY],                   [Stopped, NOBODY],        [Restarted, NOBODY]),
    column(Point::Agreed,         None,                   [NobodyServes, NOBODY],                   [Stopped, NOBODY],        [RestartedTwice, NOBODY]),
    // The listeners are the predecessor's alone.
    column(Point::Started,        Some(Point::Born),      [SuccessorBindsAnew, BEFORE_READY],       [Stopped, NOT_WANTED],    [RestartedTwice, RestartedTwice]),
    column(Point::Started,        Some(Point::Met),       [SuccessorBindsAnew, BEFORE_READY],       [Stopped, NOT_WANTED],    [RestartedTwice, RestartedTwice]),
    // Both have them, and the predecessor accepts.
    column(Point::HandedOver,     Some(Point::Inherited), [SuccessorGoesOn, BEFORE_READY],          [Stopped, NOT_WANTED],    [RestartedTwice, RestartedTwice]),
    column(Point::HandedOver,     Some(Point::Bound),     [SuccessorGoesOn, BEFORE_READY],          [Stopped, NOT_WANTED],    [RestartedTwice, RestartedTwice]),
    column(Point::HeardReady,     Some(Point::SaidReady), [SuccessorGoesOn, AT_THE_LAST_MOMENT],    [Stopped, NOT_WANTED],    [RestartedTwice, RestartedTwice]),
    // Nobody accepts.
    column(Point::Paused,         Some(Point::SaidReady), [SuccessorGoesOn, AT_THE_LAST_MOMENT],    [Stopped, NOT_WANTED],    [RestartedTwice, RestartedTwice]),
    column(Point::SaidGo,         Some(Point::HeardGo),   [SuccessorGoesOn, AT_THE_LAST_MOMENT],    [Stopped, Stopped],       [RestartedTwice, RestartedTwice]),
    // The successor has confirmed: it is the service, unless it is dead before the listeners are let go.
    column(Point::SaidGo,         Some(Point::Confirmed), [SuccessorGoesOn, AT_THE_LAST_MOMENT],    [Stopped, Stopped],       [RestartedTwice, RestartedTwice]),
    column(Point::HeardConfirmed, Some(Point::Confirmed), [SuccessorGoesOn, AT_THE_LAST_MOMENT],    [Stopped, Stopped],       [RestartedTwice, RestartedTwice]),
    // The predecessor has said that it has handed over.
    column(Point::LetGo,          Some(Point::Confirmed), [SuccessorGoesOn, NobodyServes],          [Restarted, Stopped],     [Restarted, RestartedTwice]),
    // The successor accepts.
    column(Point::SaidGo,         Some(Point::Serving),   [SuccessorGoesOn, AT_THE_LAST_MOMENT],    [Stopped, Stopped],       [RestartedTwice, RestartedTwice]),
    column(Point::LetGo,          Some(Point::Serving),   [SuccessorGoesOn, NobodyServes],          [Restarted, Stopped],     [Restarted, RestartedTwice]),
    column(Point::Draining,       Some(Point::Serving),   [SuccessorGoesOn, NobodyServes],          [Restarted, Stopped],     [Restarted, RestartedTwice]),
];

const fn column(
    predecessor: Point,
    successor: Option<Point>,
    killed: [Outcome; 2],
    stopped: [Outcome; 2],
    asked_again: [Outcome; 2],
) -> Column {
    Column { step: Step { predecessor, successor }, undisturbed: Restarted, killed, stopped, asked_again }
}

impl Column {
    /// Everything that may happen at this step, and how it ends.
    fn faults(&self) -> Vec<(Fault, Side, Outcome)> {
        let sides = [(Predecessor, 0), (Successor, 1)];
        let there =
            sides.into_iter().filter(|(side, _)| *side == Predecessor || self.step.successor.is_some());
        let mut faults = vec![(Fault::Nothing, Predecessor, self.undisturbed)];
        faults.extend(there.flat_map(|(side, at)| {
            let stopped = self.stopped[at];
            [
                (Fault::Kill, side, self.killed[at]),
                (Fault::Interlude, side, self.undisturbed),
                (Fault::Signal(Signal::SIGTERM), side, stopped),
                (Fault::Signal(Signal::SIGINT), side, stopped),
                (Fault::Signal(Signal::SIGHUP), side, self.asked_again[at]),
                (Fault::Signal(Signal::SIGUSR2), side, self.undisturbed),
            ]
        }));
        faults
    }
}

/// The points in the order of the runtime's list: one that is new has no place here until it has one in a table.
fn next(point: Point) -> Option<Point> {
    Some(match point {
        Point::Asked => Point::Agreed,
        Point::Agreed => Point::Started,
        Point::Started => Point::HandedOver,
        Point::HandedOver => Point::HeardReady,
        Point::HeardReady => Point::Paused,
        Point::Paused => Point::SaidGo,
        Point::SaidGo => Point::HeardConfirmed,
        Point::HeardConfirmed => Point::LetGo,
        Point::LetGo => Point::Draining,
        // `while_a_successor_is_called_off`
        Point::Draining | Point::CallingOff => Point::Born,
        // Of a supervisor's protocol.
        Point::Becoming | Point::HeardAsk | Point::HeardPause | Point::SaidPaused => Point::Born,
        Point::Born => Point::Met,
        Point::Met => Point::Inherited,
        Point::Inherited => Point::Bound,
        Point::Bound => Point::SaidReady,
        Point::SaidReady => Point::HeardGo,
        Point::HeardGo => Point::Confirmed,
        Point::Confirmed => Point::Serving,
        Point::Serving => return None,
    })
}

#[test]
fn every_point_is_in_the_table() {
    let has = |point: &Point| {
        DIRECT.iter().any(|Column { step, .. }| step.predecessor == *point || step.successor == Some(*point))
    };
    let missing: Vec<Point> =
        std::iter::successors(Some(Point::Asked), |point| next(*point)).filter(|point| !has(point)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn row(setup: Setup, step: Step, (fault, side, outcome): (Fault, Side, Outcome)) -> Row {
    let name = format!("{:?}, {step}: {fault} to the {side:?}: {outcome:?}", setup.user);
    Row::new(name, disturb(setup, step, fault, side, outcome))
}

/// How often each row, as the variable `TIMES` says.
fn times() -> usize {
    std::env::var("TIMES").map_or(1, |times| times.parse().expect("a number"))
}

/// By default one fault a step, another one at each.
#[tokio::test(flavor = "multi_thread")]
async fn every_step() {
    let mut rows = Vec::new();
    for time in 0..times() {
        for (number, column) in DIRECT.iter().enumerate() {
            let faults = column.faults();
            let chosen = (number * 5 + 1) % faults.len();
            for (at, fault) in faults.into_iter().enumerate() {
                if restarts(usize::from(at == chosen), 1) == 1 {
                    let user = [User::Same, User::Unprivileged][(number + at + time) % 2];
                    rows.push(row(Setup::new(Mode::Direct, user), column.step, fault));
                }
            }
        }
    }
    run_all(rows).await;
}

/// A successor that is late, and the worst that can happen while it is being called off.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_successor_is_called_off() {
    const LATE: Outcome = CalledOff(&["the successor was not ready within 5s"]);
    let column = Column {
        step: Step { predecessor: Point::CallingOff, successor: Some(Point::Bound) },
        undisturbed: LATE,
        killed: [SuccessorGoesOn, LATE],
        stopped: [Stopped, LATE],
        asked_again: [Restarted, LATE],
    };
    let by_default = [
        (Fault::Kill, Predecessor),
        (Fault::Signal(Signal::SIGTERM), Predecessor),
        (Fault::Signal(Signal::SIGHUP), Predecessor),
    ];
    let setup = Setup { ready_timeout: "5s", ..Setup::new(Mode::Direct, User::Unprivileged) };
    let mut faults = column.faults();
    faults.retain(|(fault, side, _)| restarts(0, 1) == 1 || by_default.contains(&(*fault, *side)));
    run_all(faults.into_iter().map(|fault| row(setup, column.step, fault)).collect()).await;
}

/// One that stands still is waited for as long as the step may take.
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_stands_still() {
    const LATE: Outcome = CalledOff(&["the successor was not ready within 5s"]);
    const SILENT: Outcome = CalledOff(&["the successor did not confirm within 5s"]);
    let steps = [
        (Point::Started, Point::Met, LATE),
        (Point::SaidGo, Point::HeardGo, SILENT),
        (Point::Started, Point::Born, LATE),
        (Point::HandedOver, Point::Inherited, LATE),
        (Point::HandedOver, Point::Bound, LATE),
        (Point::HeardReady, Point::SaidReady, SILENT),
        (Point::Paused, Point::SaidReady, SILENT),
    ];
    let setup = Setup { ready_timeout: "5s", ..Setup::new(Mode::Direct, User::Unprivileged) };
    let row = |(predecessor, successor, outcome)| {
        let step = Step { predecessor, successor: Some(successor) };
        row(setup, step, (Fault::Halt, Successor, outcome))
    };
    run_all(steps.into_iter().take(restarts(2, 7)).map(row).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_aborts_when_it_was_ready() {
    let step = Step { predecessor: Point::HeardReady, successor: Some(Point::SaidReady) };
    let outcome = CalledOff(&["the successor was killed by SIGABRT at the last moment"]);
    let fault = (Fault::Signal(Signal::SIGABRT), Successor, outcome);
    run_all(vec![row(Setup::new(Mode::Direct, User::Same), step, fault)]).await;
}
