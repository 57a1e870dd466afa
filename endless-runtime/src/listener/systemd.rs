//! Sockets that systemd has bound and passed to this process: `sd_listen_fds(3)`.
//!
//! Whoever is started first takes them, a supervisor or the first direct generation, and hands them on as what
//! it has inherited. From then on they are listeners as all others, but for two things: their files are
//! systemd's, and so is what waits in their queues when the service stops, which the next start will serve.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use socket2::{SockAddr, SockRef, Type};

use super::unix::SocketFile;
use super::{ListenerNote, endpoint};
use crate::address::Endpoint;
use crate::error::describe;
use crate::grammar::AddressText;
use crate::log::event;
use crate::sys;

/// Copies of what systemd has passed to this process, and not to another one that has left it the environment
/// (`LISTEN_PID`). The originals are close-on-exec from now on, and otherwise left alone: a program may know
/// them too.
///
/// # Errors
///
/// Variables that contradict each other or the descriptors that are open.
pub(crate) fn passed() -> io::Result<Vec<(ListenerNote, OwnedFd)>> {
    let mut passed = Vec::new();
    let mut occurrences = BTreeMap::new();
    for (number, name) in sd_notify::listen_fds_with_names().map_err(explained)? {
        let socket = sys::duplicate(number).map_err(explained)?;
        match local(&socket) {
            Ok((local, file)) => {
                let requested = AddressText::Systemd(name).to_string();
                let next = occurrences.entry(requested.clone()).or_insert(0);
                let note = ListenerNote { requested, occurrence: *next, local: local.to_string(), file };
                *next += 1;
                passed.push((note, socket));
            }
            Err(error) => {
                event!(WARN, "socket from systemd not usable", name = name, reason = describe(&error));
            }
        }
    }
    Ok(passed)
}

fn explained(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("what LISTEN_FDS says is not so: {}", describe(&error)))
}

/// Where it listens.
fn local(socket: &OwnedFd) -> io::Result<(Endpoint, Option<SocketFile>)> {
    let socket = SockRef::from(socket);
    if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no stream socket that listens"));
    }
    let address = socket.local_addr()?;
    if address.as_socket().is_some() {
        return Ok((endpoint(&address), None));
    }
    let path = path_of(&address)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "its address is of an unknown kind"))?;
    Ok((Endpoint::Unix(path.clone()), Some(SocketFile::of_systemd(path))))
}

/// An abstract one is spelled as in `ListenStream=`.
fn path_of(address: &SockAddr) -> Option<PathBuf> {
    #[cfg(target_os = "linux")]
    if let Some(name) = address.as_abstract_namespace() {
        return Some(format!("@{}", String::from_utf8_lossy(name)).into());
    }
    address.as_pathname().map(ToOwned::to_owned)
}

/// Why there is no listener for `systemd:NAME`.
pub(crate) fn missing<'a>(passed: impl Iterator<Item = &'a ListenerNote>) -> io::Error {
    let mut names: Vec<&str> = passed.filter_map(name_of).collect();
    names.dedup();
    io::Error::new(
        io::ErrorKind::NotFound,
        match names.is_empty() {
            true => "systemd has passed no socket to this service".to_owned(),
            false => format!("no such socket left of those that systemd has passed: {}", names.join(", ")),
        },
    )
}

/// What follows `systemd:`, of a listener that came from there.
pub(crate) fn name_of(note: &ListenerNote) -> Option<&str> {
    note.requested.strip_prefix("systemd:")
}
