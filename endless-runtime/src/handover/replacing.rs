//! Replacing a process, as states: what may happen, and what is to be done about it.
//!
//! There is no I/O and no clock in here, so that every order of events can be tried, and so that whoever
//! starts a successor can drive it with whatever waits for them.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::message::{Message, Ready, Reason};
use super::process::End;

/// For how long a process that was told something may take: the one to accept no more, the other to confirm.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(5);

/// For how long one that is called off may take to end by itself, and one that closed its channel to say
/// with which status it ends.
const END_TIME: Duration = Duration::from_secs(1);

/// Two processes may accept when it is said: it is not one of ours.
const UNASKED: &str = "the successor confirmed before it was told to go";

const CLOSED_LATE: &str = "the successor closed the channel at the last moment";

/// One attempt, from the moment at which there is a process.
#[derive(Debug)]
pub(crate) struct Replacing {
    state: State,
    /// How often the state has changed: each has a time of its own.
    changes: u32,
    ready_timeout: Duration,
    /// What the successor said went wrong.
    last_words: Option<String>,
}

#[derive(Debug)]
enum State {
    /// The successor builds and binds.
    Starting,
    /// It is silent for ever; perhaps it says with its exit status why.
    Explaining {
        failure: String,
    },
    /// It is ready, and the predecessor is to accept no more.
    Pausing {
        claimed: Vec<usize>,
        /// Whether the predecessor did not say so in time and is being ended.
        ousting: bool,
    },
    /// It was told to go. Until it confirms, it may be taken back; it cannot be called off any more.
    Confirming {
        claimed: Vec<usize>,
    },
    /// It was told that it is not wanted.
    Ending {
        reason: String,
    },
    /// Its end is certain, and must have come before anybody else accepts.
    Killing {
        reason: String,
        reopen: bool,
    },
    Done,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Happened {
    /// The successor said something.
    Said(Message),
    /// The successor has closed its end of the channel.
    Closed,
    /// Nothing that it says can be understood any more, for this reason.
    Broken(String),
    /// The successor's process has ended.
    Ended(End),
    /// The predecessor accepts no more, or is gone.
    Paused,
    /// The successor is not wanted any more.
    CalledOff(String),
    /// The state's time is over.
    TimeOut,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Do {
    /// Make the predecessor stop accepting, and say when it has.
    Pause,
    /// It does not: end it for certain, and say when it has ended.
    Oust,
    /// Tell the successor to accept.
    Go,
    /// Let the predecessor accept again.
    Reopen,
    /// Let the listeners go: those of these places are the successor's now, the others nobody's.
    LetGo(Vec<usize>),
    /// Tell the successor that it is not wanted.
    CallOff(String),
    /// End the successor for certain.
    Kill,
    /// It is over: the successor serves, or has ended and this is why.
    Finish(Result<(), String>),
}

impl Replacing {
    /// Begins with a successor that has just been started.
    pub(crate) fn new(ready_timeout: Duration) -> Self {
        Self { state: State::Starting, changes: 0, ready_timeout, last_words: None }
    }

    /// Which state this is, and how long it may last.
    pub(crate) fn time(&self) -> (u32, Option<Duration>) {
        let time = match self.state {
            State::Starting => Some(self.ready_timeout),
            State::Pausing { ousting: false, .. } | State::Confirming { .. } => Some(ANSWER_TIME),
            State::Explaining { .. } | State::Ending { .. } => Some(END_TIME),
            State::Pausing { ousting: true, .. } | State::Killing { .. } | State::Done => None,
        };
        (self.changes, time)
    }

    /// What is to be done now, in this order.
    pub(crate) fn on(&mut self, happened: Happened) -> Vec<Do> {
        if let Happened::Said(Message::Failed(Reason { reason })) = happened {
            self.last_words = Some(reason);
            return Vec::new();
        }
        match std::mem::replace(&mut self.state, State::Done) {
            State::Starting => self.while_starting(happened),
            State::Explaining { failure } => self.while_explaining(failure, happened),
            State::Pausing { claimed, ousting } => self.while_pausing(claimed, ousting, happened),
            State::Confirming { claimed } => self.while_confirming(claimed, happened),
            State::Ending { reason } => self.while_ending(reason, happened),
            State::Killing { reason, reopen } => self.while_killing(reason, reopen, happened),
            State::Done => Vec::new(),
        }
    }

    fn while_starting(&mut self, happened: Happened) -> Vec<Do> {
        match happened {
            Happened::Said(Message::Ready(Ready { claimed, .. })) => {
                self.enter(State::Pausing { claimed, ousting: false }, [Do::Pause])
            }
            Happened::Said(Message::Confirmed) => self.kill(UNASKED.to_owned(), false),
            Happened::Closed => {
                let failure = "the successor closed the channel before it was ready".to_owned();
                self.enter(State::Explaining { failure }, [])
            }
            Happened::Broken(failure) => self.enter(State::Explaining { failure }, []),
            Happened::Ended(how) => self.fail(format!("the successor {how} before it was ready")),
            Happened::CalledOff(reason) => self.call_off(reason),
            Happened::TimeOut => {
                self.call_off(format!("the successor was not ready within {:?}", self.ready_timeout))
            }
            Happened::Said(_) | Happened::Paused => self.stay(State::Starting),
        }
    }

    fn while_explaining(&mut self, failure: String, happened: Happened) -> Vec<Do> {
        match happened {
            Happened::Ended(how) => self.fail(format!("the successor {how} before it was ready")),
            Happened::TimeOut => {
                let reason = self.with_last_words(failure);
                self.call_off(reason)
            }
            Happened::CalledOff(reason) => self.call_off(reason),
            _ => self.stay(State::Explaining { failure }),
        }
    }

    fn while_pausing(&mut self, claimed: Vec<usize>, ousting: bool, happened: Happened) -> Vec<Do> {
        match happened {
            Happened::Paused => self.enter(State::Confirming { claimed }, [Do::Go]),
            Happened::CalledOff(reason) => self.reopen_and(|this| this.call_off(reason)),
            Happened::TimeOut => self.enter(State::Pausing { claimed, ousting: true }, [Do::Oust]),
            Happened::Closed => self.kill(CLOSED_LATE.to_owned(), true),
            Happened::Broken(reason) => self.kill(reason, true),
            Happened::Ended(how) => self.reopen_and(|this| this.fail(ended_late(how))),
            Happened::Said(Message::Confirmed) => self.kill(UNASKED.to_owned(), true),
            Happened::Said(_) => self.stay(State::Pausing { claimed, ousting }),
        }
    }

    fn while_confirming(&mut self, claimed: Vec<usize>, happened: Happened) -> Vec<Do> {
        match happened {
            Happened::Said(Message::Confirmed) => {
                self.enter(State::Done, [Do::LetGo(claimed), Do::Finish(Ok(()))])
            }
            Happened::Ended(how) => self.reopen_and(|this| this.fail(ended_late(how))),
            // It may have begun to accept: it must be gone before anybody else does.
            Happened::Closed => self.kill(CLOSED_LATE.to_owned(), true),
            Happened::Broken(reason) => self.kill(reason, true),
            Happened::TimeOut => {
                self.kill(format!("the successor did not confirm within {ANSWER_TIME:?}"), true)
            }
            Happened::Said(_) | Happened::Paused | Happened::CalledOff(_) => {
                self.stay(State::Confirming { claimed })
            }
        }
    }

    fn while_ending(&mut self, reason: String, happened: Happened) -> Vec<Do> {
        match happened {
            Happened::Ended(_) => self.finish(reason),
            Happened::TimeOut => self.kill(reason, false),
            _ => self.stay(State::Ending { reason }),
        }
    }

    fn while_killing(&mut self, reason: String, reopen: bool, happened: Happened) -> Vec<Do> {
        match happened {
            Happened::Ended(how) if reopen => {
                // By us, perhaps. One that was ending already, as after an abort, keeps its status.
                let reason = if how == End::Killed(Signal::SIGKILL) { reason } else { ended_late(how) };
                self.reopen_and(|this| this.fail(reason))
            }
            Happened::Ended(_) => self.finish(reason),
            _ => self.stay(State::Killing { reason, reopen }),
        }
    }

    fn enter<const N: usize>(&mut self, state: State, actions: [Do; N]) -> Vec<Do> {
        self.state = state;
        self.changes += 1;
        actions.into()
    }

    fn stay(&mut self, state: State) -> Vec<Do> {
        self.state = state;
        Vec::new()
    }

    fn call_off(&mut self, reason: String) -> Vec<Do> {
        self.enter(State::Ending { reason: reason.clone() }, [Do::CallOff(reason)])
    }

    fn kill(&mut self, reason: String, reopen: bool) -> Vec<Do> {
        self.enter(State::Killing { reason, reopen }, [Do::Kill])
    }

    fn reopen_and(&mut self, then: impl FnOnce(&mut Self) -> Vec<Do>) -> Vec<Do> {
        let mut actions = vec![Do::Reopen];
        actions.extend(then(self));
        actions
    }

    /// The successor is gone by itself.
    fn fail(&mut self, failure: String) -> Vec<Do> {
        let reason = self.with_last_words(failure);
        self.finish(reason)
    }

    fn finish(&mut self, reason: String) -> Vec<Do> {
        self.enter(State::Done, [Do::Finish(Err(reason))])
    }

    fn with_last_words(&self, failure: String) -> String {
        match &self.last_words {
            Some(reason) => format!("{failure}: {reason}"),
            None => failure,
        }
    }
}

fn ended_late(how: End) -> String {
    format!("the successor {how} at the last moment")
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY_TIMEOUT: Duration = Duration::from_secs(60);
    const KILLED: End = End::Killed(Signal::SIGKILL);

    fn replacing() -> Replacing {
        Replacing::new(READY_TIMEOUT)
    }

    fn ready() -> Happened {
        Happened::Said(Message::Ready(Ready { claimed: vec![1], ..Ready::default() }))
    }

    fn said_go() -> Replacing {
        let mut replacing = replacing();
        assert_eq!(replacing.on(ready()), [Do::Pause]);
        assert_eq!(replacing.on(Happened::Paused), [Do::Go]);
        replacing
    }

    fn failed(reason: &str) -> Do {
        Do::Finish(Err(reason.to_owned()))
    }

    #[test]
    fn nobody_accepts_between_pause_and_confirmed() {
        let mut replacing = said_go();
        let confirmed = replacing.on(Happened::Said(Message::Confirmed));
        assert_eq!(confirmed, [Do::LetGo(vec![1]), Do::Finish(Ok(()))]);
    }

    #[test]
    fn what_is_out_of_turn_changes_nothing() {
        let mut replacing = replacing();
        assert_eq!(replacing.on(Happened::Said(Message::Go)), []);
        assert_eq!(replacing.on(ready()), [Do::Pause]);
        assert_eq!(replacing.on(ready()), []);
        assert_eq!(replacing.on(Happened::Paused), [Do::Go]);
        assert_eq!(replacing.on(ready()), []);
        assert_eq!(replacing.on(Happened::CalledOff("too late".to_owned())), []);
    }

    #[test]
    fn one_that_confirms_unasked_is_killed() {
        let confirmed = || Happened::Said(Message::Confirmed);
        assert_eq!(replacing().on(confirmed()), [Do::Kill]);
        let mut pausing = replacing();
        pausing.on(ready());
        assert_eq!(pausing.on(confirmed()), [Do::Kill]);
        let ended = pausing.on(Happened::Ended(KILLED));
        assert_eq!(ended, [Do::Reopen, failed(UNASKED)]);
    }

    #[test]
    fn the_end_explains_a_closed_channel_and_the_last_words_explain_the_end() {
        let mut replacing = replacing();
        let reason = "cannot bind".to_owned();
        assert_eq!(replacing.on(Happened::Said(Message::Failed(Reason { reason }))), []);
        assert_eq!(replacing.on(Happened::Closed), []);
        let ended = replacing.on(Happened::Ended(End::Exited(1)));
        assert_eq!(ended, [failed("the successor exited with status 1 before it was ready: cannot bind")]);
    }

    #[test]
    fn one_that_is_silent_and_lives_on_is_called_off_and_then_killed() {
        let mut replacing = replacing();
        replacing.on(Happened::Broken("garbage".to_owned()));
        assert_eq!(replacing.time().1, Some(END_TIME));
        assert_eq!(replacing.on(Happened::TimeOut), [Do::CallOff("garbage".to_owned())]);
        assert_eq!(replacing.on(Happened::TimeOut), [Do::Kill]);
        assert_eq!(replacing.time().1, None);
        let ended = replacing.on(Happened::Ended(KILLED));
        assert_eq!(ended, [failed("garbage")]);
    }

    #[test]
    fn a_predecessor_that_accepts_on_is_ended_before_the_successor_is_told_to_go() {
        let mut replacing = replacing();
        replacing.on(ready());
        assert_eq!(replacing.on(Happened::TimeOut), [Do::Oust]);
        assert_eq!(replacing.time().1, None, "it waits for the end");
        assert_eq!(replacing.on(Happened::Paused), [Do::Go]);
    }

    #[test]
    fn one_that_does_not_confirm_is_gone_before_the_predecessor_accepts() {
        for silence in [Happened::TimeOut, Happened::Closed, Happened::Broken("garbage".to_owned())] {
            let mut replacing = said_go();
            assert_eq!(replacing.on(silence), [Do::Kill]);
            // It is too late for that.
            assert_eq!(replacing.on(Happened::Said(Message::Confirmed)), []);
            let actions = replacing.on(Happened::Ended(KILLED));
            assert!(matches!(&actions[..], [Do::Reopen, Do::Finish(Err(_))]), "{actions:?}");
        }
    }

    #[test]
    fn one_that_was_ending_by_itself_when_it_was_killed_says_how() {
        let mut replacing = said_go();
        assert_eq!(replacing.on(Happened::Closed), [Do::Kill]);
        let actions = replacing.on(Happened::Ended(End::Killed(Signal::SIGABRT)));
        assert_eq!(actions, [Do::Reopen, failed("the successor was killed by SIGABRT at the last moment")]);
    }

    #[test]
    fn until_it_is_told_to_go_it_can_be_called_off() {
        let reason = || Happened::CalledOff("stopped".to_owned());
        let call_off = || Do::CallOff("stopped".to_owned());
        assert_eq!(replacing().on(reason()), [call_off()]);
        let mut pausing = replacing();
        pausing.on(ready());
        assert_eq!(pausing.on(reason()), [Do::Reopen, call_off()]);
        assert_eq!(said_go().on(reason()), []);
    }

    #[test]
    fn each_state_has_its_own_time() {
        let mut replacing = replacing();
        assert_eq!(replacing.time(), (0, Some(READY_TIMEOUT)));
        replacing.on(ready());
        assert_eq!(replacing.time(), (1, Some(ANSWER_TIME)));
        replacing.on(Happened::Paused);
        assert_eq!(replacing.time(), (2, Some(ANSWER_TIME)));
    }
}
