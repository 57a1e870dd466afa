//! What a hook is told.

use super::Signal;

/// What happened, as a hook sees it.
#[derive(Clone, Debug)]
pub struct Event {
    pub(crate) signal: Option<Signal>,
    pub(crate) sender: Option<Sender>,
    pub(crate) generation: u64,
    pub(crate) outcome: Option<Outcome>,
}

impl Event {
    /// The signal; `None` for a hook of the life cycle that no signal caused.
    ///
    /// [`restart`](crate::restart) and [`shutdown`](crate::shutdown) do what `SIGHUP` and `SIGTERM` do, and
    /// their events carry those.
    pub fn signal(&self) -> Option<Signal> {
        self.signal
    }

    /// Who sent it, if a process did and the kernel said which.
    pub fn sender(&self) -> Option<Sender> {
        self.sender
    }

    /// The generation of this process: 0 for the first.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What came of it; `None` in a pre hook.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    pub(crate) fn with(&self, outcome: Outcome) -> Self {
        Self { outcome: Some(outcome), ..self.clone() }
    }
}

/// The process that sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its process ID, 0 if it is outside our PID namespace.
    pub pid: u32,
    /// Its real user ID.
    pub uid: u32,
}

/// What came of a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A successor serves, and this process drains.
    Restarted {
        /// The successor's process ID.
        pid: u32,
    },
    /// There is no successor, and this process serves on.
    NotRestarted {
        /// Why, for people.
        reason: String,
    },
    /// Everything in flight is finished.
    Stopped,
    /// What was still running has been ended.
    Hammered {
        /// How many connections there still were.
        connections: usize,
    },
    /// The signal has no action, or none now.
    Nothing,
}

/// Whether a hook runs before or after what a signal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before. A failure calls a restart off.
    Pre,
    /// After, when there is an outcome.
    Post,
}
