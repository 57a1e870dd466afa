//! Where a server listens: what the user asked for, and what was bound.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::grammar::AddressText;

/// A bound address together with the text that asked for it.
///
/// Its `Display` is the bound address: `127.0.0.1:40123` where `127.0.0.1:0` was requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    requested: String,
    local: Endpoint,
}

impl Address {
    pub(crate) fn new(requested: String, local: Endpoint) -> Self {
        Self { requested, local }
    }

    /// The address as it was configured: `localhost:8080`, `:8080`, `127.0.0.1:0`.
    pub fn requested(&self) -> &str {
        &self.requested
    }

    /// The address that the kernel bound.
    pub fn local(&self) -> &Endpoint {
        &self.local
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.local.fmt(f)
    }
}

/// One end of a connection or of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a unix socket; empty for an unnamed one, as most clients have.
    Unix(PathBuf),
}

impl Endpoint {
    /// The IP address and port, for TCP.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What [`serve`](crate::serve) and [`Server::new`](crate::Server::new) take as an address: `&str`,
/// `String`, [`SocketAddr`] and [`Address`].
///
/// A text that is no address makes the returned [`Serving`](crate::Serving) fail, with an error for which
/// [`Error::is_configuration`] holds.
pub trait IntoAddress: sealed::Sealed {
    #[doc(hidden)]
    fn into_address(self) -> Result<AddressText>;
}

impl IntoAddress for &str {
    fn into_address(self) -> Result<AddressText> {
        self.parse().map_err(|refusal| Error::configuration(format!("{refusal}")))
    }
}

impl IntoAddress for String {
    fn into_address(self) -> Result<AddressText> {
        self.as_str().into_address()
    }
}

impl IntoAddress for SocketAddr {
    fn into_address(self) -> Result<AddressText> {
        self.to_string().as_str().into_address()
    }
}

impl IntoAddress for Address {
    fn into_address(self) -> Result<AddressText> {
        self.to_string().as_str().into_address()
    }
}

impl IntoAddress for AddressText {
    fn into_address(self) -> Result<AddressText> {
        Ok(self)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for &str {}
    impl Sealed for String {}
    impl Sealed for std::net::SocketAddr {}
    impl Sealed for super::Address {}
    impl Sealed for crate::grammar::AddressText {}
}
