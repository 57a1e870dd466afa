//! The program that became ready: what replaces a generation that dies, whatever lies on its path by then.

use std::fs::{File, metadata};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use nix::fcntl::OFlag;
use nix::unistd::Pid;

use crate::handover::launch::Launch;
use crate::signal::Signal;

/// Which file is meant, on which device.
pub(super) type Identity = Option<(u64, u64)>;

/// What to start.
#[derive(Debug)]
pub(super) enum Program {
    /// Whatever lies on the path: nobody is ready yet, or it is one that starts another, as a script does.
    OfPath,
    /// This very file, held open.
    Held(File),
}

impl Program {
    /// What `pid` runs, if it is the file that it was started from.
    pub(super) fn of(pid: Pid, started: Identity) -> Self {
        let held =
            File::options().read(true).custom_flags(OFlag::O_PATH.bits()).open(format!("/proc/{pid}/exe"));
        let same = |file: &File| file.metadata().is_ok_and(|file| Some((file.dev(), file.ino())) == started);
        held.ok().filter(same).map_or(Self::OfPath, Self::Held)
    }

    /// Which file that is, or lies there now.
    pub(super) fn identity(&self, launch: &Launch) -> Identity {
        let file = match self {
            Self::OfPath => metadata(launch.program()),
            Self::Held(file) => file.metadata(),
        };
        file.ok().map(|file| (file.dev(), file.ino()))
    }

    pub(super) fn start(&self, launch: &Launch, channel: OwnedFd, blocked: &[Signal]) -> io::Result<Pid> {
        match self {
            Self::OfPath => launch.start(channel, blocked, true),
            // Looked up in the child, where it is open until the very exec.
            Self::Held(file) => launch.start_as(&path_of(file), channel, blocked, true),
        }
    }

    /// Another name of the file that is held.
    pub(super) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::OfPath => None,
            Self::Held(file) => Some(path_of(file)),
        }
    }

    pub(super) fn held(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::OfPath => None,
            Self::Held(file) => Some(file.as_fd()),
        }
    }
}

fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
