//! What goes wrong.

use std::collections::BTreeSet;
use std::fmt;

use nix::sys::signal::Signal;

use super::casualties::accepted_by;
use super::site::Site;
use crate::support::wire::{freeze, thaw};

/// To which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Predecessor,
    Successor,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing but a connection that is opened just then, as in all the others.
    Nothing,
    Kill,
    /// SIGSTOP, and SIGCONT as soon as it stands still.
    Interlude,
    /// SIGSTOP, for good.
    Halt,
    Signal(Signal),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "nothing"),
            Self::Kill => write!(f, "SIGKILL"),
            Self::Interlude => write!(f, "SIGSTOP and SIGCONT"),
            Self::Halt => write!(f, "SIGSTOP"),
            Self::Signal(signal) => write!(f, "{signal}"),
        }
    }
}

impl Fault {
    /// Does it. Returns the ports of the clients whose connections may be lost by it.
    pub(crate) async fn befall(self, site: &Site, pid: u32) -> BTreeSet<u16> {
        match self {
            Self::Nothing => {}
            Self::Kill => {
                // It accepts nothing between our look and its end.
                freeze(&site.app, pid).await;
                let lost = accepted_by(pid, site.address);
                site.app.signal(pid, Signal::SIGKILL);
                return lost;
            }
            Self::Interlude => {
                freeze(&site.app, pid).await;
                thaw(&site.app, pid);
            }
            Self::Halt => freeze(&site.app, pid).await,
            Self::Signal(signal) => {
                let lost = accepted_by(pid, site.address);
                site.app.signal(pid, signal);
                // The hammer falls on what a process that drains has accepted.
                return if signal == Signal::SIGUSR2 { lost } else { BTreeSet::new() };
            }
        }
        BTreeSet::new()
    }
}
