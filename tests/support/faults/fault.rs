//! What goes wrong.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::casualties::accepted_by;
use super::site::Site;
use crate::support::client::patiently;
use crate::support::told::sent_by_another;
use crate::support::wire::{freeze, thaw};

/// How often the kernel is asked what it does not tell by itself.
const POLL: Duration = Duration::from_millis(1);

/// To which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Supervisor,
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
                site.kill(pid);
                patiently(gone(pid)).await;
                return lost;
            }
            Self::Interlude => {
                freeze(&site.app, pid).await;
                thaw(&site.app, pid);
            }
            Self::Halt => {
                freeze(&site.app, pid).await;
                site.expect_killed(pid);
                return accepted_by(pid, site.address);
            }
            Self::Signal(signal) => {
                let lost = accepted_by(pid, site.address);
                sent_by_another(&site.app, pid, signal);
                patiently(delivered(pid, signal)).await;
                // The hammer falls on what a process that drains has accepted.
                return if signal == Signal::SIGUSR2 { lost } else { BTreeSet::new() };
            }
        }
        BTreeSet::new()
    }
}

/// Waits until nothing of the process is left but what its parent may ask for.
async fn gone(pid: u32) {
    while threads(pid).iter().any(|(_, state)| !matches!(state, 'Z' | 'X')) {
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until the signal's handler has run, whichever thread was chosen for it: none has the signal to come,
/// and since then each has slept, which a handler does not do. A signal that is blocked waits for the process.
async fn delivered(pid: u32, signal: Signal) {
    while is_in(pid, "ShdPnd", signal) && !is_in(pid, "SigBlk", signal) {
        tokio::time::sleep(POLL).await;
    }
    has_slept(pid).await;
}

/// Waits until each of the process's threads has slept, or stopped, once: what had come for it by now, it has
/// seen.
pub(crate) async fn has_slept(pid: u32) {
    let mut slept = BTreeSet::new();
    while !threads(pid).iter().all(|(thread, _)| slept.contains(thread)) {
        slept.extend(threads(pid).into_iter().filter(|(_, state)| *state != 'R').map(|(thread, _)| thread));
        tokio::time::sleep(POLL).await;
    }
}

/// Whether the signal is in this set of `/proc/PID/status`; not, if the process is gone.
fn is_in(pid: u32, set: &str, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix(set)?.strip_prefix(":\t"));
    let set = set.and_then(|set| u64::from_str_radix(set, 16).ok());
    set.is_some_and(|set| set >> (signal as i32 - 1) & 1 == 1)
}

/// The threads of a process, each with its state; none, if it is gone.
fn threads(pid: u32) -> Vec<(u32, char)> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let state = |thread: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat")).ok()?;
        // It follows the name, which is in parentheses (proc_pid_stat(5)).
        stat.rsplit_once(") ")?.1.chars().next()
    };
    let threads = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    threads.filter_map(|thread| Some((thread, state(thread)?))).collect()
}
