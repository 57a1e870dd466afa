//! Whatever happens to either side at any step of a restart, nobody is lost but the connections of a process
//! that was killed: the fault table of the protocol's steps.

mod support;

use nix::sys::signal::Signal;
use support::faults::{
    Column, Fault, Mode, Outcome, Point, Setup, Side, Step, User, missing_in, row, rows_of, rows_over_tls,
    run_all,
};
use support::restarts;

use Outcome::{
    CalledOff, NobodyServes, Restarted, RestartedTwice, Stopped, SuccessorBindsAnew, SuccessorGoesOn,
};
use Side::{Predecessor, Successor};

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
    column(Point::Asked,          None,                   &[NobodyServes, NOBODY],                   &[Stopped, NOBODY],        &[Restarted, NOBODY]),
    column(Point::Agreed,         None,                   &[NobodyServes, NOBODY],                   &[Stopped, NOBODY],        &[RestartedTwice, NOBODY]),
    // The listeners are the predecessor's alone.
    column(Point::Started,        Some(Point::Born),      &[SuccessorBindsAnew, BEFORE_READY],       &[Stopped, NOT_WANTED],    &[RestartedTwice, RestartedTwice]),
    column(Point::Started,        Some(Point::Met),       &[SuccessorBindsAnew, BEFORE_READY],       &[Stopped, NOT_WANTED],    &[RestartedTwice, RestartedTwice]),
    // Both have them, and the predecessor accepts.
    column(Point::HandedOver,     Some(Point::Inherited), &[SuccessorGoesOn, BEFORE_READY],          &[Stopped, NOT_WANTED],    &[RestartedTwice, RestartedTwice]),
    column(Point::HandedOver,     Some(Point::Bound),     &[SuccessorGoesOn, BEFORE_READY],          &[Stopped, NOT_WANTED],    &[RestartedTwice, RestartedTwice]),
    column(Point::HeardReady,     Some(Point::SaidReady), &[SuccessorGoesOn, AT_THE_LAST_MOMENT],    &[Stopped, NOT_WANTED],    &[RestartedTwice, RestartedTwice]),
    // Nobody accepts.
    column(Point::Paused,         Some(Point::SaidReady), &[SuccessorGoesOn, AT_THE_LAST_MOMENT],    &[Stopped, NOT_WANTED],    &[RestartedTwice, RestartedTwice]),
    column(Point::SaidGo,         Some(Point::HeardGo),   &[SuccessorGoesOn, AT_THE_LAST_MOMENT],    &[Stopped, Stopped],       &[RestartedTwice, RestartedTwice]),
    // The successor has confirmed: it is the service, unless it is dead before the listeners are let go.
    column(Point::SaidGo,         Some(Point::Confirmed), &[SuccessorGoesOn, AT_THE_LAST_MOMENT],    &[Stopped, Stopped],       &[RestartedTwice, RestartedTwice]),
    column(Point::HeardConfirmed, Some(Point::Confirmed), &[SuccessorGoesOn, AT_THE_LAST_MOMENT],    &[Stopped, Stopped],       &[RestartedTwice, RestartedTwice]),
    // The predecessor has said that it has handed over.
    column(Point::LetGo,          Some(Point::Confirmed), &[SuccessorGoesOn, NobodyServes],          &[Restarted, Stopped],     &[Restarted, RestartedTwice]),
    // The successor accepts.
    column(Point::SaidGo,         Some(Point::Serving),   &[SuccessorGoesOn, AT_THE_LAST_MOMENT],    &[Stopped, Stopped],       &[RestartedTwice, RestartedTwice]),
    column(Point::LetGo,          Some(Point::Serving),   &[SuccessorGoesOn, NobodyServes],          &[Restarted, Stopped],     &[Restarted, RestartedTwice]),
    column(Point::Draining,       Some(Point::Serving),   &[SuccessorGoesOn, NobodyServes],          &[Restarted, Stopped],     &[Restarted, RestartedTwice]),
];

const fn column(
    predecessor: Point,
    successor: Option<Point>,
    killed: &'static [Outcome; 2],
    stopped: &'static [Outcome; 2],
    asked_again: &'static [Outcome; 2],
) -> Column {
    let step = Step::new(None, Some(predecessor), successor);
    Column { mode: Mode::Direct, step, undisturbed: Restarted, killed, stopped, asked_again }
}

#[test]
fn every_point_is_in_the_table() {
    // The first is `while_a_successor_is_called_off`, and the others are a supervisor's.
    let elsewhere = [
        Point::CallingOff,
        Point::Rehearsing,
        Point::Rehearsed,
        Point::Becoming,
        Point::Became,
        Point::Resumed,
        Point::HeardAsk,
        Point::HeardPause,
        Point::SaidPaused,
    ];
    assert_eq!(missing_in(DIRECT), elsewhere);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step() {
    run_all(rows_of(DIRECT)).await;
}

/// No connection moves, and each end is said.
#[tokio::test(flavor = "multi_thread")]
async fn every_step_over_tls() {
    run_all(rows_over_tls(DIRECT)).await;
}

/// A successor that is late, and the worst that can happen while it is being called off.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_successor_is_called_off() {
    const LATE: Outcome = CalledOff(&["the successor was not ready within 5s"]);
    let column = Column {
        mode: Mode::Direct,
        step: Step::new(None, Some(Point::CallingOff), Some(Point::Bound)),
        undisturbed: LATE,
        killed: &[SuccessorGoesOn, LATE],
        stopped: &[Stopped, LATE],
        asked_again: &[Restarted, LATE],
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
        let step = Step::new(None, Some(predecessor), Some(successor));
        row(setup, step, (Fault::Halt, Successor, outcome))
    };
    run_all(steps.into_iter().take(restarts(2, 7)).map(row).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_aborts_when_it_was_ready() {
    let step = Step::new(None, Some(Point::HeardReady), Some(Point::SaidReady));
    let outcome = CalledOff(&["the successor was killed by SIGABRT at the last moment"]);
    let fault = (Fault::Signal(Signal::SIGABRT), Successor, outcome);
    run_all(vec![row(Setup::new(Mode::Direct, User::Same), step, fault)]).await;
}
