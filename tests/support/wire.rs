//! Moments of a restart that no process tells of: one is stopped, and the channel between the two is looked
//! at from outside.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::client::patiently;
use super::process::App;
use super::tools::tool;

/// How often the kernel is asked what it does not tell by itself.
const POLL: Duration = Duration::from_millis(5);

/// Stops the process; when this returns, none of its threads runs.
pub(crate) async fn freeze(app: &App, pid: u32) {
    app.signal(pid, Signal::SIGSTOP);
    let stands_still = || {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives").flatten();
        let stats = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
        // The state follows the name, which is in parentheses (proc_pid_stat(5)).
        stats.into_iter().all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
    };
    until(stands_still).await;
}

/// Lets it run on.
pub(crate) fn thaw(app: &App, pid: u32) {
    app.signal(pid, Signal::SIGCONT);
}

/// The channel between a process and the successor that it has started.
#[derive(Debug)]
pub(crate) struct Wire {
    ss: PathBuf,
    successor: u32,
    /// The successor's end: its descriptor and its inode.
    descriptor: String,
    inode: String,
}

impl Wire {
    /// `None` if the machine lacks the tool that looks at it.
    ///
    /// # Panics
    ///
    /// If the process is no successor.
    #[track_caller]
    pub(crate) fn to(successor: u32) -> Option<Self> {
        let environment = fs::read_to_string(format!("/proc/{successor}/environ")).expect("it lives");
        let handover =
            environment.split('\0').find_map(|variable| variable.strip_prefix("ENDLESS_HANDOVER="));
        let mut fields = handover.expect("a successor").split(',').map(str::to_owned);
        let (descriptor, inode) = (fields.next().expect("a descriptor"), fields.next().expect("an inode"));
        Some(Self { ss: tool("ss")?, successor, descriptor, inode })
    }

    /// Waits until listeners are in the channel, before the successor has read any.
    pub(crate) async fn carries_listeners(&self) {
        let Self { successor, descriptor, .. } = self;
        until(|| {
            let about =
                fs::read_to_string(format!("/proc/{successor}/fdinfo/{descriptor}")).expect("it is open");
            let count = about.lines().find_map(|line| line.strip_prefix("scm_fds:"));
            count.is_some_and(|count| count.trim() != "0")
        })
        .await;
    }

    /// Waits until the successor has said something that its predecessor, which is frozen, has not read.
    pub(crate) async fn predecessor_has_unread(&self) {
        until(|| self.has_unread(7)).await;
    }

    /// Waits until the predecessor has said something that the successor, which is frozen, has not read.
    pub(crate) async fn successor_has_unread(&self) {
        until(|| self.has_unread(5)).await;
    }

    /// The successor's end has its inode in this column: 5 is the socket that a row is about, and 7 its peer.
    fn has_unread(&self, column: usize) -> bool {
        let output = Command::new(&self.ss).arg("-xH").output().expect("ss can be run").stdout;
        let rows = String::from_utf8(output).expect("text");
        rows.lines().any(|row| {
            let columns: Vec<_> = row.split_whitespace().collect();
            columns.get(column) == Some(&self.inode.as_str()) && columns.get(2) != Some(&"0")
        })
    }
}

#[track_caller]
fn until(come: impl Fn() -> bool) -> impl Future<Output = ()> {
    patiently(async move {
        while !come() {
            tokio::time::sleep(POLL).await;
        }
    })
}
