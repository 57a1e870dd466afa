//! How a connection goes to the successor, and what comes from a predecessor.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::io::{Io, joined};
use super::state::Registered;
use super::transport::Transport;
use crate::listener::Stream;
use crate::moving::{Moving, MovingNote};

/// A connection that somebody has accepted, and what is known of it.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) stream: Stream,
    pub(crate) registered: Registered,
    pub(crate) past: Past,
}

/// What has happened to a connection.
#[derive(Debug)]
pub(crate) struct Past {
    /// Whether it has spoken HTTP/1 already.
    pub(crate) http1: bool,
    /// Since when it has been waiting for what it waits for.
    pub(crate) since: Instant,
    /// What was read of it, and answered by nobody.
    pub(crate) unread: Bytes,
}

impl Past {
    /// That of a connection that was accepted just now.
    pub(crate) fn none() -> Self {
        Self { http1: false, since: Instant::now(), unread: Bytes::new() }
    }
}

/// Gives a connection to the successor, with the bytes `read` from it before those that were given back;
/// returns it if it stays, and is to leave.
pub(super) async fn give(io: Io, read: Bytes, http1: bool, since: Instant) -> Option<Io> {
    let (transport, registered, rest) = io.into_parts();
    let unread = joined(read, rest);
    let (heir, stream) = match (registered.heir(), transport.into_plain()) {
        (Some(heir), Ok(stream)) => (heir, stream),
        (None, Ok(stream)) => return Some(stayed(stream.into(), registered, unread)),
        // It has more state than its bytes.
        (_, Err(transport)) => return Some(stayed(transport, registered, unread)),
    };
    // One that cannot be taken out of the runtime is broken.
    let (socket, remote, path) = stream.into_socket().ok()?;
    let note = MovingNote {
        listener: (*heir.listener).to_owned(),
        remote: (&remote).into(),
        http1,
        awaited_for: since.elapsed(),
    };
    let Some(moving) = heir.take(Moving { note, socket: Arc::new(socket), unread }).await else {
        registered.has_moved();
        return None;
    };
    let socket = Arc::into_inner(moving.socket)?;
    let stream = Stream::of_socket(socket, remote, path).ok()?;
    Some(stayed(stream.into(), registered, moving.unread))
}

fn stayed(stream: Transport, registered: Registered, unread: Bytes) -> Io {
    registered.state().leave();
    let mut io = Io::new(stream, registered);
    io.give_back(unread);
    io
}
