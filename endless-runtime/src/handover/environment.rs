//! What a successor finds in its environment: which descriptor is the channel, and from whom.
//!
//! The variable stays in the environment, which is never written, and so reaches the user's own
//! subprocesses. It counts for nothing there: their parent is another process, and the channel was closed.

use std::fmt;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::str::FromStr;
use std::sync::OnceLock;

use nix::sys::stat::fstat;
use nix::unistd::{Pid, getpid, getppid};

use crate::signal::Signal;
use crate::sys;

/// The variable's name.
pub(crate) const VARIABLE: &str = "ENDLESS_HANDOVER";

/// What the variable says: `descriptor,inode,predecessor,ignored+ignored`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    descriptor: RawFd,
    inode: u64,
    predecessor: i32,
    /// The signals that were ignored when the first generation started.
    ignored: Vec<Signal>,
}

/// What a predecessor left for this process.
#[derive(Debug)]
pub(crate) struct FromPredecessor {
    pub(crate) channel: OwnedFd,
    pub(crate) predecessor: Pid,
    pub(crate) ignored: Vec<Signal>,
}

impl Credentials {
    /// For a successor that will find `channel` under the number `descriptor`.
    pub(crate) fn new(channel: &OwnedFd, descriptor: &OwnedFd, ignored: Vec<Signal>) -> nix::Result<Self> {
        let inode = fstat(channel)?.st_ino;
        Ok(Self { descriptor: descriptor.as_raw_fd(), inode, predecessor: getpid().as_raw(), ignored })
    }

    /// The channel, if this process is the one that these were made for.
    fn redeem(self) -> Option<FromPredecessor> {
        let is_child = getppid().as_raw() == self.predecessor;
        let channel = sys::own_inherited(self.descriptor, self.inode, |channel| {
            is_child || made_by(channel) == Some(self.predecessor)
        })?;
        Some(FromPredecessor { channel, predecessor: Pid::from_raw(self.predecessor), ignored: self.ignored })
    }
}

/// Who made the socket pair, which the kernel remembers also when that process is gone (unix(7)): a
/// predecessor that dies before its successor runs leaves it another parent.
#[cfg(target_os = "linux")]
fn made_by(channel: BorrowedFd<'_>) -> Option<i32> {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    getsockopt(&channel, PeerCredentials).ok().map(|peer| peer.pid())
}

#[cfg(not(target_os = "linux"))]
fn made_by(_channel: BorrowedFd<'_>) -> Option<i32> {
    None
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ignored: Vec<String> = self.ignored.iter().map(Signal::to_string).collect();
        write!(f, "{},{},{},{}", self.descriptor, self.inode, self.predecessor, ignored.join("+"))
    }
}

impl FromStr for Credentials {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut fields = text.split(',');
        let mut field = || fields.next().ok_or(());
        let descriptor = field()?.parse().ok().filter(|number| *number > 2).ok_or(())?;
        let inode = field()?.parse().map_err(|_| ())?;
        let predecessor = field()?.parse().map_err(|_| ())?;
        let ignored = field()?.split('+').filter_map(|name| name.parse().ok()).collect();
        Ok(Self { descriptor, inode, predecessor, ignored })
    }
}

/// Takes what the predecessor left, once; `None` for a first generation and for everybody's subprocesses.
pub(crate) fn take() -> Option<FromPredecessor> {
    static TAKEN: OnceLock<()> = OnceLock::new();
    TAKEN.set(()).ok()?;
    std::env::var(VARIABLE).ok()?.parse::<Credentials>().ok()?.redeem()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_says_what_was_put_into_it() {
        let credentials = Credentials {
            descriptor: 7,
            inode: 4711,
            predecessor: 42,
            ignored: vec![Signal::Hangup, Signal::Interrupt],
        };
        assert_eq!(credentials.to_string(), "7,4711,42,SIGHUP+SIGINT");
        assert_eq!(credentials.to_string().parse(), Ok(credentials));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "7", "7,4711", "7,4711,x,", "0,1,2,", "-1,1,2,", "99999999999,1,2,"] {
            assert_eq!(text.parse::<Credentials>(), Err(()), "{text:?}");
        }
    }

    #[test]
    fn what_was_made_for_another_process_is_not_redeemed() {
        let (channel, _far) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let channel = OwnedFd::from(channel);
        let mut credentials = Credentials::new(&channel, &channel, Vec::new()).expect("open");
        credentials.predecessor = i32::MAX;
        assert!(credentials.redeem().is_none(), "neither parent nor maker");
        assert!(fstat(&channel).is_ok(), "and the descriptor is left alone");
    }
}
