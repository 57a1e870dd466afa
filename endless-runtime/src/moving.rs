//! Connections on their way to another process, as those know them that give them away and that send them.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::address::Endpoint;

/// A connection between two requests.
#[derive(Debug)]
pub(crate) struct Moving {
    pub(crate) note: MovingNote,
    pub(crate) socket: Arc<OwnedFd>,
    /// What was read of it, and answered by nobody.
    pub(crate) unread: Bytes,
}

/// What is said of a connection that moves.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct MovingNote {
    /// What the listener is bound to that has accepted it.
    pub(crate) listener: String,
    pub(crate) remote: Remote,
    /// Whether it has spoken HTTP/1 already, so that it speaks nothing else.
    pub(crate) http1: bool,
    /// For how long the rest of a head, or a request, has been waited for.
    pub(crate) awaited_for: Duration,
}

/// The client's end, in a form that any path survives.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Remote {
    Tcp(std::net::SocketAddr),
    Unix(Vec<u8>),
}

impl From<&Endpoint> for Remote {
    fn from(endpoint: &Endpoint) -> Self {
        match endpoint {
            Endpoint::Tcp(address) => Self::Tcp(*address),
            Endpoint::Unix(path) => Self::Unix(path.as_os_str().as_bytes().to_owned()),
        }
    }
}

impl From<Remote> for Endpoint {
    fn from(remote: Remote) -> Self {
        match remote {
            Remote::Tcp(address) => Self::Tcp(address),
            Remote::Unix(path) => Self::Unix(OsString::from_vec(path).into()),
        }
    }
}

/// What is to be sent to the successor.
#[derive(Debug)]
pub(crate) enum Errand {
    Connection(Parcel),
    /// The end of a channel over which an older generation gives its connections to this one.
    Channel(OwnedFd),
    /// There is nothing more.
    End,
}

/// A connection, and who wants to know what becomes of it.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) moving: Moving,
    /// Nothing, once it is the successor's; the connection, if it stays.
    pub(crate) answer: oneshot::Sender<Option<Moving>>,
}

/// The way to the successor, for the connections of one listener.
#[derive(Clone, Debug)]
pub(crate) struct Heir {
    pub(crate) listener: Arc<str>,
    pub(crate) errands: mpsc::UnboundedSender<Errand>,
}

impl Heir {
    /// Gives a connection away; returns it if the successor does not take it.
    pub(crate) async fn take(&self, moving: Moving) -> Option<Moving> {
        let (answer, answered) = oneshot::channel();
        match self.errands.send(Errand::Connection(Parcel { moving, answer })) {
            Ok(()) => answered.await.ok().flatten(),
            Err(mpsc::error::SendError(Errand::Connection(parcel))) => Some(parcel.moving),
            Err(_) => None,
        }
    }
}
