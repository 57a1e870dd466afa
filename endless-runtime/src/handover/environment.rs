//! What a generation finds in its environment: which descriptor is the channel, and from whom.
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

/// Of another one, in which a supervisor tells itself what it knows when it becomes a newer build.
pub(crate) const SUPERVISOR_VARIABLE: &str = "ENDLESS_SUPERVISOR";

const SUPERVISOR: &str = ",supervisor";

/// What the variable says: `descriptor,inode,PID,ignored+ignored`, and a `supervisor` that follows if it is one
/// who says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    descriptor: RawFd,
    inode: u64,
    /// The process that left it.
    from: i32,
    is_supervisor: bool,
    /// The signals that were ignored when the first generation started.
    ignored: Vec<Signal>,
}

/// How this process was started: by a predecessor, or by a supervisor.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) channel: OwnedFd,
    pub(crate) by: Pid,
    pub(crate) by_supervisor: bool,
    pub(crate) ignored: Vec<Signal>,
}

impl Credentials {
    /// For a process that will find `channel` under the number `descriptor`.
    pub(crate) fn new(
        channel: &OwnedFd,
        descriptor: &OwnedFd,
        is_supervisor: bool,
        ignored: Vec<Signal>,
    ) -> nix::Result<Self> {
        let (inode, descriptor) = (fstat(channel)?.st_ino, descriptor.as_raw_fd());
        Ok(Self { descriptor, inode, from: getpid().as_raw(), is_supervisor, ignored })
    }

    /// The channel, if this process is the one that these were made for.
    fn redeem(self) -> Option<Start> {
        let Self { descriptor, inode, from, is_supervisor, ignored } = self;
        let is_child = getppid().as_raw() == from;
        let is_ours = |channel: BorrowedFd<'_>| is_child || made_by(channel) == Some(from);
        let channel = sys::own_inherited(descriptor, inode, is_ours)?;
        Some(Start { channel, by: Pid::from_raw(from), by_supervisor: is_supervisor, ignored })
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
        write!(f, "{},{},{},{}", self.descriptor, self.inode, self.from, ignored.join("+"))?;
        if self.is_supervisor { f.write_str(SUPERVISOR) } else { Ok(()) }
    }
}

impl FromStr for Credentials {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut fields = text.split(',');
        let mut field = || fields.next().ok_or(());
        let descriptor = field()?.parse().ok().filter(|number| *number > 2).ok_or(())?;
        let inode = field()?.parse().map_err(|_| ())?;
        let from = field()?.parse().map_err(|_| ())?;
        let ignored = field()?.split('+').filter_map(|name| name.parse().ok()).collect();
        let is_supervisor = field().is_ok_and(|word| word == &SUPERVISOR[1..]);
        Ok(Self { descriptor, inode, from, is_supervisor, ignored })
    }
}

/// Takes what was left for this process, once; `None` where nobody has, and for everybody's subprocesses.
pub(crate) fn take() -> Option<Start> {
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
            from: 42,
            is_supervisor: false,
            ignored: vec![Signal::Hangup, Signal::Interrupt],
        };
        assert_eq!(credentials.to_string(), "7,4711,42,SIGHUP+SIGINT");
        assert_eq!(credentials.to_string().parse(), Ok(credentials.clone()));
        let supervisors = Credentials { is_supervisor: true, ..credentials };
        assert_eq!(supervisors.to_string(), "7,4711,42,SIGHUP+SIGINT,supervisor");
        assert_eq!(supervisors.to_string().parse(), Ok(supervisors));
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
        let mut credentials = Credentials::new(&channel, &channel, false, Vec::new()).expect("open");
        credentials.from = i32::MAX;
        assert!(credentials.redeem().is_none(), "neither parent nor maker");
        assert!(fstat(&channel).is_ok(), "and the descriptor is left alone");
    }
}
