//! A process that this one started: waited for, ended, reaped.

use std::fmt;
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsFd as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal as Number, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::log::event;

/// How often a process is looked after where the kernel does not tell of its end.
const LOOK: Duration = Duration::from_millis(20);

/// A child of this process, reaped exactly once.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    watch: Watch,
    /// Once it is reaped and its number may be anybody's.
    end: Option<End>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exited(i32),
    Killed(Number),
    /// Whoever started us has SIGCHLD ignored, so the kernel reaps by itself.
    Untold,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Killed(signal) => write!(f, "was killed by {signal}"),
            Self::Untold => f.write_str("ended"),
        }
    }
}

impl Process {
    /// `pid` has just been started and is nobody else's to wait for.
    pub(super) fn started(pid: Pid) -> Self {
        Self { pid, watch: Watch::over(pid), end: None }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for the end and reaps. Cancel safe.
    pub(crate) async fn ended(&mut self) -> End {
        loop {
            if let Some(end) = self.end {
                return end;
            }
            self.end = match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, status)) => Some(End::Exited(status)),
                Ok(WaitStatus::Signaled(_, signal, _)) => Some(End::Killed(signal)),
                Ok(_) | Err(Errno::EINTR) => {
                    self.watch.something().await;
                    None
                }
                Err(_) => Some(End::Untold),
            };
        }
    }

    /// Ends it for certain.
    pub(crate) fn kill(&self) {
        self.signal(Number::SIGKILL);
    }

    pub(crate) fn signal(&self, signal: Number) {
        if self.end.is_some() {
            return;
        }
        if let Err(error) = self.watch.signal(self.pid, signal) {
            event!(WARN, "cannot signal the successor", signal = signal, successor = self.pid, error = error);
        }
    }
}

#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Watch(Option<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>>);

#[cfg(target_os = "linux")]
impl Watch {
    /// Kernels before 5.3 have no pidfd, and a process may be short of descriptors: then it is looked after
    /// by time.
    fn over(pid: Pid) -> Self {
        Self(crate::sys::pidfd_open(pid).and_then(crate::sys::watched).ok())
    }

    fn signal(&self, pid: Pid, signal: Number) -> io::Result<()> {
        match &self.0 {
            Some(pidfd) => crate::sys::pidfd_send_signal(pidfd.get_ref().as_fd(), signal),
            None => Ok(kill(pid, signal)?),
        }
    }

    async fn something(&self) {
        match &self.0 {
            Some(pidfd) => drop(pidfd.readable().await),
            None => tokio::time::sleep(LOOK).await,
        }
    }
}

#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Watch;

#[cfg(not(target_os = "linux"))]
impl Watch {
    fn over(_pid: Pid) -> Self {
        Self
    }

    fn signal(&self, pid: Pid, signal: Number) -> io::Result<()> {
        Ok(kill(pid, signal)?)
    }

    async fn something(&self) {
        tokio::time::sleep(LOOK).await;
    }
}
