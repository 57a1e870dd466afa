//! Listeners that the user's code has bound itself.

use std::io;
use std::os::fd::OwnedFd;

use super::unix::SocketFile;
use super::{Bound, endpoint};
use crate::address::Endpoint;
use crate::grammar::AddressText;

/// A listener that is bound already, of std or of tokio, for TCP or a unix socket.
#[derive(Debug)]
pub struct Listener {
    socket: io::Result<OwnedFd>,
}

impl Listener {
    /// The address that it has, and the socket.
    ///
    /// # Errors
    ///
    /// If it has none that a successor could know it by, as an unnamed or abstract unix socket.
    pub(crate) fn into_parts(self) -> io::Result<(AddressText, Bound)> {
        let socket = self.socket?;
        let nameless =
            || io::Error::new(io::ErrorKind::Unsupported, "the listener has no address to know it by");
        match endpoint(&socket2::SockRef::from(&socket).local_addr()?) {
            Endpoint::Tcp(address) => {
                let text = address.to_string().parse().map_err(|_| nameless())?;
                Ok((text, Bound { socket, file: None }))
            }
            Endpoint::Unix(path) if path.as_os_str().is_empty() => Err(nameless()),
            Endpoint::Unix(path) => {
                let file = SocketFile::at(std::path::absolute(&path)?)?;
                Ok((AddressText::Unix(path), Bound { socket, file: Some(file) }))
            }
        }
    }
}

impl From<std::net::TcpListener> for Listener {
    fn from(listener: std::net::TcpListener) -> Self {
        Self { socket: Ok(listener.into()) }
    }
}

impl From<std::os::unix::net::UnixListener> for Listener {
    fn from(listener: std::os::unix::net::UnixListener) -> Self {
        Self { socket: Ok(listener.into()) }
    }
}

impl From<tokio::net::TcpListener> for Listener {
    fn from(listener: tokio::net::TcpListener) -> Self {
        Self { socket: listener.into_std().map(Into::into) }
    }
}

impl From<tokio::net::UnixListener> for Listener {
    fn from(listener: tokio::net::UnixListener) -> Self {
        Self { socket: listener.into_std().map(Into::into) }
    }
}
