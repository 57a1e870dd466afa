//! A table of steps: what becomes of a restart, whatever happens to whom at each.

use nix::sys::signal::Signal;

use super::fault::{Fault, Side};
use super::outcome::{Outcome, disturb};
use super::points::{Point, Step};
use super::row::Row;
use super::site::{Mode, Over, Setup, User};
use crate::support::counts::restarts;

/// What becomes of a restart at one of its steps. The outcomes are in the order of [`Mode::sides`]; those for a
/// process that is not there do not count.
pub(crate) struct Column {
    pub(crate) mode: Mode,
    pub(crate) step: Step,
    /// If nothing happens, or nothing that matters.
    pub(crate) undisturbed: Outcome,
    /// SIGKILL.
    pub(crate) killed: &'static [Outcome],
    /// SIGTERM or SIGINT.
    pub(crate) stopped: &'static [Outcome],
    /// SIGHUP.
    pub(crate) asked_again: &'static [Outcome],
}

/// What happens to whom, and how it ends.
pub(crate) type Happening = (Fault, Side, Outcome);

impl Mode {
    /// Who takes part.
    pub(crate) fn sides(self) -> &'static [Side] {
        match self {
            Self::Direct => &[Side::Predecessor, Side::Successor],
            Self::Supervised => &[Side::Supervisor, Side::Predecessor, Side::Successor],
        }
    }
}

impl Column {
    /// Everything that may happen at this step.
    pub(crate) fn faults(&self) -> Vec<Happening> {
        let is_there = |side| side != Side::Successor || self.step.successor.is_some();
        let sides = self.mode.sides().iter().copied().enumerate();
        let mut faults = vec![(Fault::Nothing, Side::Predecessor, self.undisturbed)];
        faults.extend(sides.filter(|(_, side)| is_there(*side)).flat_map(|(at, side)| {
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

pub(crate) fn row(setup: Setup, step: Step, (fault, side, outcome): Happening) -> Row {
    let name = format!("{:?}, {:?}, {step}: {fault} to the {side:?}: {outcome:?}", setup.over, setup.user);
    Row::new(name, disturb(setup, step, fault, side, outcome))
}

/// How often each row, as the variable `TIMES` says.
fn times() -> usize {
    std::env::var("TIMES").map_or(1, |times| times.parse().expect("a number"))
}

/// The whole table; by default one fault a step, another one at each.
pub(crate) fn rows_of(columns: &[Column]) -> Vec<Row> {
    rows_over(Over::Tcp, columns, |number, faults| Some((number * 5 + 1) % faults))
}

/// The whole table over TLS; by default one fault at every third step.
pub(crate) fn rows_over_tls(columns: &[Column]) -> Vec<Row> {
    rows_over(Over::Tls, columns, |number, faults| (number % 3 == 1).then_some((number * 7 + 1) % faults))
}

/// All faults at all steps, or one that is chosen by the step's number and how many there are.
fn rows_over(over: Over, columns: &[Column], chosen: fn(usize, usize) -> Option<usize>) -> Vec<Row> {
    let mut rows = Vec::new();
    for time in 0..times() {
        for (number, column) in columns.iter().enumerate() {
            let faults = column.faults();
            let chosen = chosen(number, faults.len());
            for (at, fault) in faults.into_iter().enumerate() {
                if restarts(usize::from(chosen == Some(at)), 1) == 1 {
                    let user = [User::Same, User::Unprivileged][(number + at + time) % 2];
                    rows.push(row(Setup { over, ..Setup::new(column.mode, user) }, column.step, fault));
                }
            }
        }
    }
    rows
}

/// The points that no step of the table has.
pub(crate) fn missing_in(columns: &[Column]) -> Vec<Point> {
    let has = |point: &Point| columns.iter().any(|column| column.step.has(*point));
    std::iter::successors(Some(Point::Asked), |point| next(*point)).filter(|point| !has(point)).collect()
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
        Point::Draining => Point::CallingOff,
        Point::CallingOff => Point::Rehearsing,
        Point::Rehearsing => Point::Rehearsed,
        Point::Rehearsed => Point::Becoming,
        Point::Becoming => Point::Became,
        Point::Became => Point::Resumed,
        Point::Resumed => Point::HeardAsk,
        Point::HeardAsk => Point::HeardPause,
        Point::HeardPause => Point::SaidPaused,
        Point::SaidPaused => Point::Born,
        Point::Born => Point::Met,
        Point::Met => Point::Inherited,
        Point::Inherited => Point::Bound,
        Point::Bound => Point::SaidReady,
        Point::SaidReady => Point::HeardGo,
        Point::HeardGo => Point::Confirmed,
        Point::Confirmed => Point::Serving,
        Point::Serving => return None,
        // The way of a connection has a table of its own.
        Point::Giving
        | Point::Gave
        | Point::HeardTaken
        | Point::SaidCommit
        | Point::HeardMove
        | Point::SaidTaken
        | Point::HeardCommit => return None,
    })
}
