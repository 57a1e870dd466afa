//! Taking over from a predecessor, as states: what may happen, and what is to be done about it.
//!
//! The counterpart of [`super::replacing`], and as free of I/O.

use std::os::fd::OwnedFd;

use super::PROTOCOL;
use super::message::{Hello, Kin, Message, Ready, Reason};
use crate::bequest::Bequest;
use crate::listener::ListenerNote;
use crate::secrets::Secrets;

const UNSUPERVISED: &str = "the supervisor is gone";

/// A successor on its way to serving.
#[derive(Debug)]
pub(crate) struct Arriving {
    state: State,
    /// Whether who started it is still there to be talked to.
    starter: bool,
    /// Whether that is a supervisor, without which it does not want to be.
    supervised: bool,
}

#[derive(Debug)]
enum State {
    /// The predecessor is handing over.
    Receiving(Estate),
    /// The servers are being bound.
    Preparing,
    /// Ready was said: the predecessor accepts until it says go.
    Waiting,
    /// One of the servers could not be bound after all. Main is about to end this process, and until then it
    /// must not take over.
    Failing,
    Done,
}

/// Everything that was handed over.
#[derive(Debug, Default)]
pub(crate) struct Estate {
    /// The new one.
    pub(crate) generation: u64,
    /// Who serves now, where it is a supervisor who says so.
    pub(crate) predecessor: Option<i32>,
    /// Who will drain then.
    pub(crate) predecessors: Vec<Kin>,
    pub(crate) listeners: Vec<(ListenerNote, OwnedFd)>,
    pub(crate) bequests: Vec<Bequest>,
    pub(crate) secrets: Option<Secrets>,
    /// Over which the predecessor gives its connections, if it does.
    pub(crate) moving: Option<OwnedFd>,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Happened {
    /// The predecessor said something.
    Said(Message),
    /// The predecessor is gone; nobody serves until this process does.
    Gone,
    /// The two do not understand each other: the predecessor lives, serves on, and this process must not.
    Broken(String),
    /// Every server is bound, with the inherited listeners of these places.
    Bound(Vec<usize>),
    /// A server cannot be bound.
    Failed(String),
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Do {
    /// Give the servers what was handed over.
    Inherit(Estate),
    /// Say this to the predecessor. If it does not hear it, it is gone, and that is heard too.
    Say(Message),
    /// Accept.
    Serve,
    /// End this process, for this reason.
    End(String),
}

impl Arriving {
    /// Started by a predecessor, or by a supervisor.
    pub(crate) fn new(supervised: bool) -> Self {
        // A predecessor that dies without a word has a generation all the same.
        let estate = Estate { generation: 1, ..Estate::default() };
        Self { state: State::Receiving(estate), starter: true, supervised }
    }

    /// Whether who started it may still say something.
    pub(crate) fn has_starter(&self) -> bool {
        self.starter
    }

    /// What is to be done now, in this order.
    pub(crate) fn on(&mut self, happened: Happened) -> Vec<Do> {
        match (std::mem::replace(&mut self.state, State::Done), happened) {
            (State::Done, _) => Vec::new(),
            (_, Happened::Said(Message::CallOff(Reason { reason }))) => vec![Do::End(reason)],
            (_, Happened::Gone) if self.supervised => vec![Do::End(UNSUPERVISED.to_owned())],
            (State::Receiving(estate), happened) => self.while_receiving(estate, happened),
            (_, Happened::Broken(reason)) => vec![Do::End(reason)],
            (State::Preparing, happened) => self.while_preparing(happened),
            (State::Waiting, happened) => self.while_waiting(happened),
            (State::Failing, _) => self.go_on(State::Failing, []),
        }
    }

    fn while_receiving(&mut self, mut estate: Estate, happened: Happened) -> Vec<Do> {
        match happened {
            Happened::Said(Message::Hello(Hello {
                generation, first, predecessor, predecessors, ..
            })) => {
                estate.generation = if first { 0 } else { generation.saturating_add(1) };
                (estate.predecessor, estate.predecessors) = (predecessor, predecessors);
            }
            Happened::Said(Message::Listeners(listeners)) => estate.listeners.extend(listeners),
            Happened::Said(Message::Bequests(bequests)) => estate.bequests.extend(bequests),
            Happened::Said(Message::Secrets(secrets)) => estate.secrets = Some(secrets),
            Happened::Said(Message::MovingChannel(channel)) => estate.moving = Some(channel),
            Happened::Said(Message::Complete) => return self.go_on(State::Preparing, [Do::Inherit(estate)]),
            // What has come is all that there will be.
            Happened::Gone => {
                self.starter = false;
                return self.go_on(State::Preparing, [Do::Inherit(estate)]);
            }
            Happened::Broken(reason) => {
                return vec![Do::Say(failed(reason.clone())), Do::End(reason)];
            }
            Happened::Failed(reason) => {
                return self.go_on(State::Receiving(estate), [Do::Say(failed(reason))]);
            }
            Happened::Said(_) | Happened::Bound(_) => {}
        }
        self.go_on(State::Receiving(estate), [])
    }

    fn while_preparing(&mut self, happened: Happened) -> Vec<Do> {
        match happened {
            Happened::Bound(_) if !self.starter => vec![Do::Serve],
            Happened::Bound(claimed) => {
                let ready = Message::Ready(Ready { protocol: PROTOCOL, claimed });
                self.go_on(State::Waiting, [Do::Say(ready)])
            }
            Happened::Gone => {
                self.starter = false;
                self.go_on(State::Preparing, [])
            }
            Happened::Failed(reason) if self.starter => {
                self.go_on(State::Preparing, [Do::Say(failed(reason))])
            }
            // Not ready yet, whatever it says.
            _ => self.go_on(State::Preparing, []),
        }
    }

    fn while_waiting(&mut self, happened: Happened) -> Vec<Do> {
        match happened {
            // Said before the first accept: from then on the predecessor does not accept again, so there is no
            // moment in which a connection is accepted by a process that then gives up.
            Happened::Said(Message::Go) => vec![Do::Say(Message::Confirmed), Do::Serve],
            Happened::Gone => {
                self.starter = false;
                vec![Do::Serve]
            }
            Happened::Failed(reason) => self.go_on(State::Failing, [Do::Say(failed(reason))]),
            _ => self.go_on(State::Waiting, []),
        }
    }

    fn go_on<const N: usize>(&mut self, state: State, actions: [Do; N]) -> Vec<Do> {
        self.state = state;
        actions.into()
    }
}

fn failed(reason: String) -> Message {
    Message::Failed(Reason { reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that has inherited a predecessor's generation 3.
    fn preparing() -> Arriving {
        let mut arriving = Arriving::new(false);
        let hello = Hello { generation: 3, ..Hello::default() };
        assert!(arriving.on(Happened::Said(Message::Hello(hello))).is_empty());
        let actions = arriving.on(Happened::Said(Message::Complete));
        assert!(matches!(&actions[..], [Do::Inherit(Estate { generation: 4, .. })]), "{actions:?}");
        arriving
    }

    fn waiting() -> Arriving {
        let mut arriving = preparing();
        let actions = arriving.on(Happened::Bound(vec![0]));
        assert!(matches!(&actions[..], [Do::Say(Message::Ready(ready))] if ready.claimed == [0]));
        arriving
    }

    #[test]
    fn it_confirms_before_it_serves() {
        let actions = waiting().on(Happened::Said(Message::Go));
        assert!(matches!(&actions[..], [Do::Say(Message::Confirmed), Do::Serve]), "{actions:?}");
    }

    #[test]
    fn it_does_not_go_before_it_is_ready() {
        let mut arriving = preparing();
        assert!(arriving.on(Happened::Said(Message::Go)).is_empty());
        let actions = arriving.on(Happened::Bound(Vec::new()));
        assert!(matches!(&actions[..], [Do::Say(Message::Ready(_))]), "{actions:?}");
    }

    #[test]
    fn without_a_predecessor_it_serves_as_soon_as_it_can() {
        assert!(matches!(&waiting().on(Happened::Gone)[..], [Do::Serve]));
        let mut arriving = preparing();
        assert!(arriving.on(Happened::Gone).is_empty());
        assert!(!arriving.has_starter());
        assert!(matches!(&arriving.on(Happened::Bound(Vec::new()))[..], [Do::Serve]));
        assert!(matches!(&Arriving::new(false).on(Happened::Gone)[..], [Do::Inherit(_)]));
    }

    #[test]
    fn one_that_inherits_nothing_is_no_first_generation() {
        let actions = Arriving::new(false).on(Happened::Gone);
        assert!(matches!(&actions[..], [Do::Inherit(Estate { generation: 1, .. })]), "{actions:?}");
    }

    #[test]
    fn without_its_supervisor_it_ends_in_any_state() {
        let mut preparing = Arriving::new(true);
        preparing.on(Happened::Said(Message::Complete));
        let mut waiting = Arriving::new(true);
        waiting.on(Happened::Said(Message::Complete));
        waiting.on(Happened::Bound(Vec::new()));
        for mut arriving in [Arriving::new(true), preparing, waiting] {
            assert!(matches!(&arriving.on(Happened::Gone)[..], [Do::End(reason)] if reason == UNSUPERVISED));
        }
    }

    #[test]
    fn the_first_one_of_a_supervisor_is_generation_0() {
        let mut arriving = Arriving::new(true);
        arriving.on(Happened::Said(Message::Hello(Hello { first: true, ..Hello::default() })));
        let actions = arriving.on(Happened::Said(Message::Complete));
        assert!(matches!(&actions[..], [Do::Inherit(Estate { generation: 0, .. })]), "{actions:?}");
    }

    #[test]
    fn one_that_is_called_off_ends_in_any_state() {
        for mut arriving in [Arriving::new(false), preparing(), waiting()] {
            let reason = Reason { reason: "stopped".to_owned() };
            let actions = arriving.on(Happened::Said(Message::CallOff(reason)));
            assert!(matches!(&actions[..], [Do::End(reason)] if reason == "stopped"), "{actions:?}");
            assert!(arriving.on(Happened::Gone).is_empty(), "it has ended");
        }
    }

    #[test]
    fn one_that_fails_after_it_was_ready_does_not_take_over() {
        let mut arriving = waiting();
        let actions = arriving.on(Happened::Failed("no such port".to_owned()));
        assert!(matches!(&actions[..], [Do::Say(Message::Failed(_))]), "{actions:?}");
        assert!(arriving.on(Happened::Said(Message::Go)).is_empty());
        assert!(arriving.on(Happened::Gone).is_empty());
    }
}
