//! Whatever happens to the supervisor or to either generation at any step of a restart, the PID that was started
//! stays, nobody is lost but the connections of a process that was killed, and without a supervisor nothing is
//! left running: the fault table of the supervised mode.

mod support;

use std::fs;

use nix::sys::signal::Signal;
use support::faults::{
    Column, FINER_STARTS, Fault, Mode, Outcome, Point, Restart, Row, STARTS, Setup, Side, Site, Start, Step,
    User, missing_in, row, rows_of, rows_over_tls, run_all,
};
use support::{PATIENCE, Wire, freeze, patiently, restarts, sent_by_another, thaw};

use Outcome::{CalledOff, Orphaned, Replaced, Restarted, RestartedTwice, Stopped, SuccessorGoesOn};
use Side::{Predecessor, Successor, Supervisor};

const BEFORE_READY: Outcome = CalledOff(&["the successor was killed by SIGKILL before it was ready"]);
const AT_THE_LAST_MOMENT: Outcome = CalledOff(&[
    "the successor was killed by SIGKILL at the last moment",
    "the successor closed the channel at the last moment",
]);
/// There is no successor yet.
const NOBODY: Outcome = BEFORE_READY;

/// Who is the service is the supervisor's to say, whoever of its generations is asked to stop.
const ALL_STOP: &[Outcome; 3] = &[Stopped, Stopped, Stopped];
const ONCE_MORE: &[Outcome; 3] = &[RestartedTwice, RestartedTwice, RestartedTwice];
/// What was asked for before the hooks have agreed is one with it.
const AT_ONCE: &[Outcome; 3] = &[Restarted, Restarted, NOBODY];

#[rustfmt::skip]
const SUPERVISED: &[Column] = &[
    // Before anything is started.
    column(Some(Point::Asked),          None,                    None,                   &[Orphaned, SuccessorGoesOn, NOBODY],             ALL_STOP, AT_ONCE),
    column(None,                        Some(Point::HeardAsk),   None,                   &[Orphaned, SuccessorGoesOn, NOBODY],             ALL_STOP, AT_ONCE),
    column(Some(Point::Agreed),         None,                    None,                   &[Orphaned, SuccessorGoesOn, NOBODY],             ALL_STOP, ONCE_MORE),
    // The predecessor accepts; a successor gets the same listeners if it dies.
    column(Some(Point::Started),        None,                    Some(Point::Born),      &[Orphaned, SuccessorGoesOn, BEFORE_READY],       ALL_STOP, ONCE_MORE),
    column(Some(Point::Started),        None,                    Some(Point::Met),       &[Orphaned, SuccessorGoesOn, BEFORE_READY],       ALL_STOP, ONCE_MORE),
    column(Some(Point::HandedOver),     None,                    Some(Point::Inherited), &[Orphaned, SuccessorGoesOn, BEFORE_READY],       ALL_STOP, ONCE_MORE),
    column(Some(Point::HandedOver),     None,                    Some(Point::Bound),     &[Orphaned, SuccessorGoesOn, BEFORE_READY],       ALL_STOP, ONCE_MORE),
    column(Some(Point::HeardReady),     None,                    Some(Point::SaidReady), &[Orphaned, SuccessorGoesOn, AT_THE_LAST_MOMENT], ALL_STOP, ONCE_MORE),
    column(None,                        Some(Point::HeardPause), Some(Point::SaidReady), &[Orphaned, SuccessorGoesOn, AT_THE_LAST_MOMENT], ALL_STOP, ONCE_MORE),
    // Nobody accepts.
    column(None,                        Some(Point::SaidPaused), Some(Point::SaidReady), &[Orphaned, SuccessorGoesOn, AT_THE_LAST_MOMENT], ALL_STOP, ONCE_MORE),
    column(Some(Point::Paused),         None,                    Some(Point::SaidReady), &[Orphaned, SuccessorGoesOn, AT_THE_LAST_MOMENT], ALL_STOP, ONCE_MORE),
    column(Some(Point::SaidGo),         None,                    Some(Point::HeardGo),   &[Orphaned, SuccessorGoesOn, AT_THE_LAST_MOMENT], ALL_STOP, ONCE_MORE),
    // The successor has confirmed: it is the service, unless it is dead before the listeners are let go.
    column(Some(Point::SaidGo),         None,                    Some(Point::Confirmed), &[Orphaned, SuccessorGoesOn, AT_THE_LAST_MOMENT], ALL_STOP, ONCE_MORE),
    column(Some(Point::HeardConfirmed), None,                    Some(Point::Confirmed), &[Orphaned, SuccessorGoesOn, AT_THE_LAST_MOMENT], ALL_STOP, ONCE_MORE),
    // The predecessor knows that it has handed over, and what it is told is for itself alone.
    column(Some(Point::LetGo),          Some(Point::LetGo),      Some(Point::Confirmed), &[Orphaned, SuccessorGoesOn, Replaced],           &[Stopped, Restarted, Stopped], &[RestartedTwice, Restarted, RestartedTwice]),
    // The successor accepts.
    column(Some(Point::SaidGo),         None,                    Some(Point::Serving),   &[Orphaned, SuccessorGoesOn, AT_THE_LAST_MOMENT], ALL_STOP, ONCE_MORE),
    column(Some(Point::LetGo),          Some(Point::LetGo),      Some(Point::Serving),   &[Orphaned, SuccessorGoesOn, Replaced],           &[Stopped, Restarted, Stopped], &[RestartedTwice, Restarted, RestartedTwice]),
    column(None,                        Some(Point::Draining),   Some(Point::Serving),   &[Orphaned, SuccessorGoesOn, Replaced],           &[Stopped, Restarted, Stopped], &[RestartedTwice, Restarted, RestartedTwice]),
];

const fn column(
    supervisor: Option<Point>,
    predecessor: Option<Point>,
    successor: Option<Point>,
    killed: &'static [Outcome; 3],
    stopped: &'static [Outcome; 3],
    asked_again: &'static [Outcome; 3],
) -> Column {
    let step = Step::new(supervisor, predecessor, successor);
    Column { mode: Mode::Supervised, step, undisturbed: Restarted, killed, stopped, asked_again }
}

#[test]
fn every_point_is_in_the_table() {
    // `while_a_successor_is_called_off`, `while_the_supervisor_becomes_another_build`, and around that
    // `supervisor_upgrade.rs`.
    let elsewhere = [
        Point::CallingOff,
        Point::Rehearsing,
        Point::Rehearsed,
        Point::Becoming,
        Point::Became,
        Point::Resumed,
    ];
    assert_eq!(missing_in(SUPERVISED), elsewhere);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step() {
    run_all(rows_of(SUPERVISED)).await;
}

/// No connection moves, and each end is said.
#[tokio::test(flavor = "multi_thread")]
async fn every_step_over_tls() {
    run_all(rows_over_tls(SUPERVISED)).await;
}

/// A successor that is late, and the worst that can happen while it is being called off.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_successor_is_called_off() {
    const LATE: Outcome = CalledOff(&["the successor was not ready within 5s"]);
    let column = Column {
        undisturbed: LATE,
        ..column(
            Some(Point::CallingOff),
            None,
            Some(Point::Bound),
            &[Orphaned, Replaced, LATE],
            ALL_STOP,
            &[Restarted, Restarted, NOBODY],
        )
    };
    let by_default = [(Fault::Kill, Supervisor), (Fault::Kill, Predecessor)];
    let setup = Setup { ready_timeout: "5s", ..Setup::new(Mode::Supervised, User::Unprivileged) };
    let mut faults = column.faults();
    faults.retain(|(fault, side, _)| restarts(0, 1) == 1 || by_default.contains(&(*fault, *side)));
    // Whether it passes a signal on before it ends, is chance.
    faults.retain(|(fault, side, _)| *side != Successor || !matches!(fault, Fault::Signal(_)));
    run_all(faults.into_iter().map(|fault| row(setup, column.step, fault)).collect()).await;
}

/// The restart is over, and the supervisor hears nothing for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_supervisor_becomes_another_build() {
    let step = Step::new(Some(Point::Becoming), None, Some(Point::Serving));
    let faults = [
        (Fault::Kill, Supervisor, Orphaned),
        (Fault::Signal(Signal::SIGTERM), Supervisor, Stopped),
        (Fault::Kill, Successor, Replaced),
        (Fault::Signal(Signal::SIGHUP), Successor, RestartedTwice),
        (Fault::Nothing, Successor, Restarted),
        (Fault::Signal(Signal::SIGHUP), Supervisor, RestartedTwice),
        (Fault::Signal(Signal::SIGTERM), Successor, Stopped),
        (Fault::Interlude, Supervisor, Restarted),
        (Fault::Interlude, Successor, Restarted),
    ];
    let setup = Setup::new(Mode::Supervised, User::Unprivileged);
    let rows = faults.into_iter().take(restarts(4, usize::MAX)).map(|fault| row(setup, step, fault));
    run_all(rows.collect()).await;
}

/// Whoever stands still is waited for as long as the step may take: a successor is given up then, and a
/// predecessor replaced without being asked any more.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_stands_still() {
    const LATE: Outcome = CalledOff(&["the successor was not ready within 5s"]);
    const SILENT: Outcome = CalledOff(&["the successor did not confirm within 5s"]);
    let steps = [
        (Point::HeardReady, Some(Point::SaidReady), Predecessor, SuccessorGoesOn),
        (Point::SaidGo, Some(Point::HeardGo), Successor, SILENT),
        // It neither answers its hooks nor pauses.
        (Point::Asked, None, Predecessor, SuccessorGoesOn),
        (Point::Started, Some(Point::Born), Successor, LATE),
        (Point::Started, Some(Point::Met), Successor, LATE),
        (Point::HandedOver, Some(Point::Bound), Predecessor, SuccessorGoesOn),
        (Point::HandedOver, Some(Point::Inherited), Successor, LATE),
        (Point::HandedOver, Some(Point::Bound), Successor, LATE),
        (Point::HeardReady, Some(Point::SaidReady), Successor, SILENT),
        (Point::Paused, Some(Point::SaidReady), Successor, SILENT),
    ];
    let setup = Setup { ready_timeout: "5s", ..Setup::new(Mode::Supervised, User::Unprivileged) };
    let row = |(supervisor, successor, side, outcome)| {
        row(setup, Step::new(Some(supervisor), None, successor), (Fault::Halt, side, outcome))
    };
    run_all(steps.into_iter().take(restarts(3, usize::MAX)).map(row).collect()).await;
}

/// A supervisor knows more of its generations than a predecessor does; the rest is one code.
#[tokio::test(flavor = "multi_thread")]
async fn bad_beginnings() {
    let by_default = [
        "the program is missing",
        "main returns an error",
        "a hook refuses",
        "SIGCHLD is ignored and it exits",
        "the predecessor has two descriptors left",
        "the successor may have four descriptors",
    ];
    let users = [User::Same, User::Unprivileged];
    let both = |start: &Start| users.map(|user| start.supervised(user));
    let rows = match restarts(0, 1) {
        0 => {
            let chosen = STARTS.iter().filter(|start| by_default.contains(&start.name));
            chosen.zip(users.into_iter().cycle()).map(|(start, user)| start.supervised(user)).collect()
        }
        _ => STARTS.iter().chain(FINER_STARTS).flat_map(both).collect(),
    };
    run_all(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_aborts_when_it_was_ready() {
    let step = Step::new(Some(Point::HeardReady), None, Some(Point::SaidReady));
    let outcome = CalledOff(&["the successor was killed by SIGABRT at the last moment"]);
    let fault = (Fault::Signal(Signal::SIGABRT), Successor, outcome);
    run_all(vec![row(Setup::new(Mode::Supervised, User::Same), step, fault)]).await;
}

/// Its parent is not who started it any more when it looks.
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_whose_supervisor_dies_before_it_begins() {
    let site = Site::open(Setup::new(Mode::Supervised, User::Unprivileged)).await;
    let (mark, supervisor) = (site.app.mark(), site.supervisor().expect("there is one"));
    site.ship_script("echo 'INFO script: begun'; while test ! -e \"$0.go\"; do sleep 0.01; done");
    site.hang_up(site.first);
    site.app.wait_for(mark, |line| line.text == "INFO script: begun", PATIENCE).await;
    site.kill(supervisor);
    assert_eq!(site.app.exit(supervisor).await.code(), None, "it was killed");
    fs::write(site.folder().join("app.go"), "").expect("our own folder");
    assert_eq!(site.app.exit(site.first).await.code(), Some(0));
    patiently(site.app.ended()).await;
    let serving = site.app.lines().into_iter().filter(|line| line.message() == Some("serving"));
    assert_eq!(serving.count(), 1, "the first generation");
}

/// A predecessor that does not know yet that it has handed over is asked for something that is the service's to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_to_the_predecessor_at_the_very_handover() {
    for (signal, outcome) in [(Signal::SIGTERM, Stopped), (Signal::SIGHUP, RestartedTwice)] {
        let site = Site::open(Setup::new(Mode::Supervised, User::Same)).await;
        let restart = Restart::of(&site);
        site.points.hold(Point::HeardConfirmed);
        site.hang_up(site.first);
        site.points.reached(Point::HeardConfirmed).await;
        freeze(&site.app, site.first).await;
        sent_by_another(&site.app, site.first, signal);
        let wire = Wire::to(site.first);
        site.points.release(Point::HeardConfirmed);
        if let Some(wire) = wire {
            wire.successor_has_unread().await;
        }
        thaw(&site.app, site.first);
        let ended = restart.finds(outcome).await;
        site.ends(ended).await;
    }
}

/// Both at a time: nobody has the listeners but the supervisor.
#[tokio::test(flavor = "multi_thread")]
async fn no_generation_is_left() {
    let steps = [
        (Point::HandedOver, Point::Inherited),
        (Point::LetGo, Point::Confirmed),
        (Point::Started, Point::Born),
        (Point::HeardReady, Point::SaidReady),
        (Point::Paused, Point::SaidReady),
        (Point::SaidGo, Point::HeardGo),
        (Point::HeardConfirmed, Point::Confirmed),
    ];
    let rows = steps.into_iter().take(restarts(2, usize::MAX)).map(|(supervisor, successor)| {
        let name = format!("{supervisor:?}/{successor:?}: SIGKILL to both");
        Row::new(name, kill_both(supervisor, successor))
    });
    run_all(rows.collect()).await;
}

async fn kill_both(at: Point, successor_at: Point) {
    let site = Site::open(Setup::new(Mode::Supervised, User::Unprivileged)).await;
    let restart = Restart::of(&site);
    // Where it lets go, the predecessor is heard to have handed over.
    let predecessor_at = (at == Point::LetGo).then_some(at);
    let step = Step::new(Some(at), predecessor_at, Some(successor_at));
    let successor = restart.reach(step).await.expect("there is one");
    [site.first, successor].into_iter().for_each(|pid| site.kill(pid));
    let waiting = site.ask("/hello").await;
    [successor_at, at].into_iter().for_each(|point| site.points.release(point));
    let ended = restart.finds(Replaced).await;
    assert_eq!(waiting.answer().await.0.text(), "WORLD!");
    site.ends(ended).await;
}
