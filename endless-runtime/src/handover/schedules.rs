//! Both sides of a restart against each other, in every order of messages, deaths and time that chance finds.
//!
//! What must hold: at no time do both accept; listeners are let go only to somebody who accepts; and when
//! nothing more happens, one process accepts if any is left that could.

use std::collections::VecDeque;
use std::time::Duration;

use nix::sys::signal::Signal;
use proptest::collection::vec;
use proptest::prelude::*;

use super::PROTOCOL;
use super::arriving::{self, Arriving};
use super::message::{Hello, Message, Reason};
use super::process::End;
use super::replacing::{self, Replacing};

/// What chance, the world or somebody with a keyboard does next.
#[derive(Clone, Copy, Debug)]
enum Move {
    Restart,
    PredecessorHears,
    SuccessorHears,
    Bind,
    Fail,
    TimeOut,
    CallOff,
    KillPredecessor,
    KillSuccessor,
    PredecessorEnds,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => Just(Move::Restart),
        12 => Just(Move::PredecessorHears),
        12 => Just(Move::SuccessorHears),
        6 => Just(Move::Bind),
        1 => Just(Move::Fail),
        1 => Just(Move::TimeOut),
        1 => Just(Move::CallOff),
        1 => Just(Move::KillPredecessor),
        1 => Just(Move::KillSuccessor),
        2 => Just(Move::PredecessorEnds),
    ];
    vec(one, 0..300)
}

/// At most two processes that share listeners, and the channel between them.
#[derive(Default)]
struct World {
    predecessor: Option<Predecessor>,
    successor: Option<Successor>,
    to_successor: VecDeque<Message>,
    to_predecessor: VecDeque<Message>,
}

struct Predecessor {
    accepts: bool,
    has_listeners: bool,
    replacing: Option<Replacing>,
    outcome: Option<Result<(), String>>,
}

struct Successor {
    arriving: Arriving,
    accepts: bool,
    inherited: bool,
    /// What it does not serve, as it is about to return an error from main.
    failed: bool,
}

impl Predecessor {
    fn serving() -> Self {
        Self { accepts: true, has_listeners: true, replacing: None, outcome: None }
    }
}

impl World {
    fn serving() -> Self {
        Self { predecessor: Some(Predecessor::serving()), ..Self::default() }
    }

    fn make(&mut self, one: Move) {
        match one {
            Move::Restart => self.restart(),
            Move::PredecessorHears => self.predecessor_hears(),
            Move::SuccessorHears => self.successor_hears(),
            Move::Bind => {
                if self.successor.as_ref().is_some_and(|successor| successor.inherited) {
                    self.successor_learns(arriving::Happened::Bound(vec![0]));
                }
            }
            Move::Fail => {
                if let Some(successor) = self.successor.as_mut().filter(|successor| !successor.accepts) {
                    successor.failed = true;
                    self.successor_learns(arriving::Happened::Failed("no port".to_owned()));
                }
            }
            Move::TimeOut => {
                let timed = |replacing: &Replacing| replacing.time().1.is_some();
                if self.replacing().is_some_and(timed) {
                    self.predecessor_learns(replacing::Happened::TimeOut);
                }
            }
            Move::CallOff => {
                self.predecessor_learns(replacing::Happened::CalledOff("stopped".to_owned()));
            }
            Move::KillPredecessor => self.predecessor = None,
            Move::KillSuccessor => self.successor = None,
            Move::PredecessorEnds => {
                // Once it has drained.
                if self.predecessor.as_ref().is_some_and(|predecessor| !predecessor.has_listeners) {
                    self.predecessor = None;
                }
            }
        }
        self.check();
    }

    /// By whoever serves; a predecessor that still drains has nothing to do with it.
    fn restart(&mut self) {
        if self.successor.as_ref().is_some_and(|successor| successor.accepts)
            && self.predecessor.as_ref().is_none_or(|predecessor| !predecessor.has_listeners)
        {
            *self = Self::serving();
        }
        let Some(predecessor) = &mut self.predecessor else { return };
        if !predecessor.has_listeners || predecessor.replacing.is_some() || self.successor.is_some() {
            return;
        }
        predecessor.replacing = Some(Replacing::new(Duration::from_secs(60)));
        predecessor.outcome = None;
        self.successor = Some(Successor {
            arriving: Arriving::new(false),
            accepts: false,
            inherited: false,
            failed: false,
        });
        let hello = Message::Hello(Hello { protocol: PROTOCOL, ..Hello::default() });
        self.to_successor = VecDeque::from([hello, Message::Listeners(Vec::new()), Message::Complete]);
        self.to_predecessor.clear();
    }

    fn replacing(&self) -> Option<&Replacing> {
        self.predecessor.as_ref()?.replacing.as_ref()
    }

    fn predecessor_hears(&mut self) {
        let alive = self.successor.is_some();
        let happened = match self.to_predecessor.pop_front() {
            // Whoever has confirmed and is gone serves nobody.
            Some(Message::Confirmed) if !alive => replacing::Happened::Ended(End::Killed(Signal::SIGKILL)),
            Some(message) => replacing::Happened::Said(message),
            None if alive => return,
            None => replacing::Happened::Ended(End::Killed(Signal::SIGKILL)),
        };
        self.predecessor_learns(happened);
    }

    fn successor_hears(&mut self) {
        let happened = match self.to_successor.pop_front() {
            Some(message) => arriving::Happened::Said(message),
            None if self.predecessor.is_some() => return,
            None => arriving::Happened::Gone,
        };
        self.successor_learns(happened);
    }

    fn predecessor_learns(&mut self, happened: replacing::Happened) {
        let mut all = VecDeque::from([happened]);
        while let Some(happened) = all.pop_front() {
            let Some(predecessor) = &mut self.predecessor else { return };
            let Some(replacing) = &mut predecessor.replacing else { return };
            for action in replacing.on(happened) {
                match action {
                    replacing::Do::Pause => {
                        predecessor.accepts = false;
                        all.push_back(replacing::Happened::Paused);
                    }
                    replacing::Do::Oust => unreachable!("this predecessor pauses at once"),
                    replacing::Do::Go => self.to_successor.push_back(Message::Go),
                    replacing::Do::Reopen => predecessor.accepts = true,
                    replacing::Do::LetGo(_) => {
                        let taken = self.successor.as_ref().is_some_and(|successor| successor.accepts);
                        assert!(taken, "listeners are let go, and nobody accepts");
                        predecessor.has_listeners = false;
                    }
                    replacing::Do::CallOff(reason) => {
                        self.to_successor.push_back(Message::CallOff(Reason { reason }));
                    }
                    replacing::Do::Kill => self.successor = None,
                    replacing::Do::Finish(result) => {
                        predecessor.replacing = None;
                        assert_eq!(predecessor.accepts, result.is_err());
                        assert!(result.is_ok() || self.successor.is_none(), "it was not reaped");
                        predecessor.outcome = Some(result);
                        return;
                    }
                }
            }
        }
    }

    fn successor_learns(&mut self, happened: arriving::Happened) {
        let Some(successor) = &mut self.successor else { return };
        let called_off = matches!(happened, arriving::Happened::Said(Message::CallOff(_)));
        let mut ended = false;
        for action in successor.arriving.on(happened) {
            match action {
                arriving::Do::Inherit(_) => successor.inherited = true,
                arriving::Do::Say(message) => self.to_predecessor.push_back(message),
                arriving::Do::Serve => successor.accepts = true,
                arriving::Do::End(_) => ended = true,
            }
        }
        if ended {
            assert!(called_off, "it ends, and nobody has asked it to");
            self.successor = None;
        }
    }

    fn check(&self) {
        let predecessor = self.predecessor.as_ref().is_some_and(|predecessor| predecessor.accepts);
        let successor = self.successor.as_ref().is_some_and(|successor| successor.accepts);
        assert!(!(predecessor && successor), "both accept");
    }

    /// Lets everything happen that happens by itself, and at last the time run out.
    fn settle(&mut self) {
        for round in 0..20 {
            for one in [Move::SuccessorHears, Move::Bind, Move::PredecessorHears] {
                (0..5).for_each(|_| self.make(one));
            }
            if round >= 10 {
                self.make(Move::TimeOut);
            }
        }
        assert!(self.replacing().is_none(), "a restart without an outcome");
    }

    fn somebody_accepts(&self) -> bool {
        self.predecessor.as_ref().is_some_and(|predecessor| predecessor.accepts)
            || self.successor.as_ref().is_some_and(|successor| successor.accepts)
    }

    /// Whether there is a process that has the listeners and is not about to end.
    fn somebody_could(&self) -> bool {
        self.predecessor.as_ref().is_some_and(|predecessor| predecessor.has_listeners)
            || self.successor.as_ref().is_some_and(|successor| successor.inherited && !successor.failed)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_schedule_loses_a_listener(moves in moves()) {
        let mut world = World::serving();
        moves.into_iter().for_each(|one| world.make(one));
        world.settle();
        prop_assert!(world.somebody_accepts() || !world.somebody_could());
        if world.somebody_accepts() {
            world.successor_is_gone_or_serves();
            world.restart();
            world.settle();
            prop_assert!(world.successor.is_some_and(|successor| successor.accepts), "the next one succeeds");
        }
    }
}

impl World {
    /// A successor whose main returns an error ends.
    fn successor_is_gone_or_serves(&mut self) {
        if self.successor.as_ref().is_some_and(|successor| !successor.accepts) {
            self.successor = None;
        }
    }
}
