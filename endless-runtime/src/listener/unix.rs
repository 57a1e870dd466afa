//! Unix sockets and their files.
//!
//! A socket is bound under a temporary name and renamed into place, so that the path always leads to somebody
//! who listens. Which file it is, by device and inode, goes to the successor with the socket: only that file
//! is ever removed, and only by the process that stops for good.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf, absolute};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::beside;

/// The file of a bound unix socket.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct SocketFile {
    pub(super) path: PathBuf,
    device: u64,
    inode: u64,
    #[serde(default)]
    owner: Owner,
}

/// Whose it is to remove the file, and to put it back.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
enum Owner {
    #[default]
    Service,
    Systemd,
}

impl SocketFile {
    pub(super) fn at(path: PathBuf) -> io::Result<Self> {
        let file = fs::symlink_metadata(&path)?;
        Ok(Self { path, device: file.dev(), inode: file.ino(), owner: Owner::Service })
    }

    /// One that this process may not even see.
    pub(super) fn of_systemd(path: PathBuf) -> Self {
        Self { path, device: 0, inode: 0, owner: Owner::Systemd }
    }

    /// Whether the path still leads to this socket: it may have been removed, or replaced by somebody else's.
    /// Where that is systemd's to see to, it counts as if.
    pub(crate) fn is_in_place(&self) -> bool {
        self.owner == Owner::Systemd || Self::at(self.path.clone()).is_ok_and(|file| file == *self)
    }

    /// Removes the file, if it is still this socket's and not systemd's.
    pub(crate) fn remove(&self) {
        if self.owner == Owner::Service && self.is_in_place() {
            // Somebody may have been faster.
            let _gone = fs::remove_file(&self.path);
        }
    }
}

/// Binds and listens.
///
/// # Errors
///
/// `AddrInUse` if somebody listens on the path, or if it is something other than a socket.
pub(super) fn bind(path: &Path, backlog: i32) -> io::Result<(OwnedFd, SocketFile)> {
    let path = absolute(path)?;
    refuse_if_taken(&path)?;
    let (socket, file) = beside::put(&path, |temporary| {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(temporary)?)?;
        socket.listen(backlog)?;
        Ok((socket.into(), SocketFile::at(temporary.to_owned())?))
    })?;
    Ok((socket, SocketFile { path, ..file }))
}

/// A socket that a dead process left behind refuses connections, and is replaced.
fn refuse_if_taken(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Ok(_) => Err(Errno::EADDRINUSE.into()),
            Err(error) => Err(error),
        },
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "the path is not a socket's")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_a_dead_process_is_replaced_and_one_of_a_living_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.sock");
        let (living, file) = bind(&path, 16).expect("bound");
        assert_eq!(bind(&path, 16).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
        drop(living);
        let (_socket, second) = bind(&path, 16).expect("replaced");
        assert_ne!(file, second);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing temporary is left");
    }

    #[test]
    fn only_its_own_file_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.sock");
        let (first, file) = bind(&path, 16).expect("bound");
        drop(first);
        let (_socket, second) = bind(&path, 16).expect("replaced");
        file.remove();
        assert!(second.is_in_place());
        second.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notes.txt");
        fs::write(&path, "mine").expect("written");
        assert_eq!(bind(&path, 16).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read_to_string(&path).expect("still there"), "mine");
    }
}
