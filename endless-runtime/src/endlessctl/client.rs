//! The operator's side: one question to one process, after a look at who answers.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Pid;
use socket2::{Domain, SockAddr, Socket, Type};

use super::desk;
use super::words::{Answer, LONGEST_ANSWER, Request};
use crate::birth;
use crate::error::describe;
use crate::sys;

/// How often a process is looked at where the kernel does not tell of its end.
const LOOK: Duration = Duration::from_millis(20);

/// How much sooner a process that ends may have closed its connections.
const END: Duration = Duration::from_secs(1);

/// A process that is not mistaken for a later one with its number.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) pid: u32,
    started: u64,
    /// Kernels before 5.3 have none.
    pidfd: Option<OwnedFd>,
}

impl Target {
    /// # Errors
    ///
    /// If there is no such process.
    pub(super) fn find(pid: u32) -> Result<Self, String> {
        // In this order: what was started then is what the descriptor stands for.
        let pidfd = i32::try_from(pid).ok().and_then(|pid| sys::pidfd_open(Pid::from_raw(pid)).ok());
        let started = birth::of(pid).ok_or_else(|| format!("there is no process {pid}"))?;
        Ok(Self { pid, started, pidfd })
    }

    pub(super) fn lives(&self) -> bool {
        birth::lives(self.pid, self.started)
    }

    /// Waits for its end, or for so long; says whether it has ended.
    pub(super) fn ends_within(&self, time: Option<Duration>) -> bool {
        let Some(pidfd) = &self.pidfd else { return self.is_seen_to_end(time) };
        let mut polled = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        let time = time.map(|time| PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX));
        loop {
            match poll(&mut polled, time.unwrap_or(PollTimeout::NONE)) {
                Ok(0) => return false,
                Ok(_) => return true,
                Err(Errno::EINTR) => {}
                Err(_) => return !self.lives(),
            }
        }
    }

    fn is_seen_to_end(&self, time: Option<Duration>) -> bool {
        let looks = time.map_or(u128::MAX, |time| time.as_millis().div_ceil(LOOK.as_millis()));
        for _ in 0..looks {
            if !self.lives() {
                return true;
            }
            thread::sleep(LOOK);
        }
        !self.lives()
    }

    /// Asks it, and waits for the answer; with a time, for so long.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub(super) fn ask(&self, request: Request, patience: Option<Duration>) -> Result<Answer, String> {
        let socket = self.connect(patience)?;
        // One that refuses whoever comes does not wait for the question, and its answer is there anyway.
        let _unread = (&socket).write_all(&request.to_line());
        match read(&socket) {
            Ok(Some(line)) => serde_json::from_slice(&line)
                .map_err(|_| format!("process {} answers what this version does not understand", self.pid)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(format!("process {} does not answer", self.pid))
            }
            Ok(None) | Err(_) if self.ends_within(Some(END)) => {
                Err(format!("process {} has ended", self.pid))
            }
            Ok(None) => Err(format!("process {} has closed the connection without an answer", self.pid)),
            Err(error) => Err(format!("process {} gives no answer: {}", self.pid, describe(&error))),
        }
    }

    fn connect(&self, patience: Option<Duration>) -> Result<UnixStream, String> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::ConnectionRefused => format!(
                "process {} cannot be asked: it is no service of endless, or in another network namespace",
                self.pid
            ),
            _ => format!("cannot connect to process {}: {}", self.pid, describe(&error)),
        };
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
        socket.set_write_timeout(patience).map_err(failed)?;
        socket.set_read_timeout(patience).map_err(failed)?;
        let address = SockAddr::unix(format!("\0{}", desk::name(self.pid, self.started))).map_err(failed)?;
        socket.connect(&address).map_err(failed)?;
        let socket = UnixStream::from(OwnedFd::from(socket));
        self.check(&socket)?;
        Ok(socket)
    }

    /// Anybody can take a name that is not taken.
    fn check(&self, socket: &UnixStream) -> Result<(), String> {
        let peer = getsockopt(socket, PeerCredentials).map_err(|error| describe(&error.into()))?;
        if u32::try_from(peer.pid()) != Ok(self.pid) {
            return Err(format!("process {} answers in the place of process {}", peer.pid(), self.pid));
        }
        match fs::metadata(format!("/proc/{}", self.pid)).map(|about| about.uid()) {
            // It may have been root when it began to listen.
            Ok(owner) if peer.uid() == owner || peer.uid() == 0 => Ok(()),
            Ok(owner) => Err(format!("user {} answers in the place of user {owner}", peer.uid())),
            Err(_) => Err(format!("process {} has ended", self.pid)),
        }
    }
}

/// The answer's line; `None` if the connection ends before it does.
fn read(socket: &UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    BufReader::new(socket.take(LONGEST_ANSWER)).read_until(b'\n', &mut line)?;
    Ok((line.last() == Some(&b'\n')).then_some(line))
}
