//! Addresses resolved and bound.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

use super::{Bound, queue_length, unix};
use crate::grammar::AddressText;

/// The addresses that `address` may mean, in the order in which they are tried.
pub(crate) async fn resolve(address: &AddressText) -> io::Result<Vec<SocketAddr>> {
    match address {
        AddressText::Tcp { host, port } => {
            Ok(tokio::net::lookup_host((host.as_str(), *port)).await?.collect())
        }
        AddressText::AllInterfaces { port } => {
            Ok(vec![(Ipv6Addr::UNSPECIFIED, *port).into(), (Ipv4Addr::UNSPECIFIED, *port).into()])
        }
        AddressText::Unix(_) | AddressText::Systemd(_) => Ok(Vec::new()),
    }
}

/// Binds the first of `candidates` that can be bound, and listens. `AllInterfaces` is one IPv6 socket that
/// takes IPv4 too; a machine without IPv6 falls back to the candidate after it.
pub(crate) fn bind(address: &AddressText, candidates: &[SocketAddr], backlog: u32) -> io::Result<Bound> {
    if let AddressText::Unix(path) = address {
        let (socket, file) = unix::bind(path, queue_length(backlog))?;
        return Ok(Bound { socket, file: Some(file) });
    }
    let both_families = matches!(address, AddressText::AllInterfaces { .. });
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in candidates {
        match listen(*candidate, both_families, backlog) {
            Ok(socket) => return Ok(socket),
            Err(error) if both_families && !is_without_ipv6(&error) => return Err(error),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn listen(address: SocketAddr, both_families: bool, backlog: u32) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if both_families && address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Without it, connections of an earlier process in TIME_WAIT would keep the port for a minute.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(queue_length(backlog))?;
    Ok(Bound { socket: socket.into(), file: None })
}
