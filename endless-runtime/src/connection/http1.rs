//! HTTP/1: one request after the other, and how such a connection leaves.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use http::StatusCode;
use hyper::server::conn::http1::Builder;

use super::Terms;
use super::io::Io;
use super::leaving::IdleGrace;
use super::patience::Patience;
use super::request::Requests;
use super::state::Awaited;
use crate::config::Limits;
use crate::service::HttpService;

/// Hyper's own limit of a connection's buffers, which must not be below that of a head.
const HYPERS_BUFFER: usize = 8192 + 4096 * 100;

/// Serves until the client or the response closes, or until the connection was idle for `idle_grace` after
/// it was asked to leave. A connection that is upgraded goes on in the hands of the user's handler.
///
/// Hyper's own `graceful_shutdown` is not used: it closes a fresh connection at once, also when its first
/// request is on its way. Here an idle connection stays open for the grace, and a request that comes
/// within it is answered with `Connection: close`.
///
/// A client that is late with a head is told so; one that is late with anything else is left.
pub(super) async fn serve<S: HttpService>(
    io: Io,
    requests: Requests<S>,
    terms: Terms,
    mut patience: Patience,
) {
    let state = Arc::clone(io.state());
    let mut connection = builder(terms.limits).serve_connection(io, requests).with_upgrades();
    let mut grace = IdleGrace::new(terms.idle_grace);
    let late = poll_fn(|cx| {
        // What went wrong was on the client's side, and hyper has answered it where it could.
        if Pin::new(&mut connection).poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(late) = patience.poll_late(state.awaited(), cx) {
            return Poll::Ready(Some(late));
        }
        ready!(state.poll_leaving(cx));
        grace.poll_over(state.is_idle(), cx).map(|()| None)
    });
    if late.await == Some(Awaited::Head)
        && let Some(parts) = connection.into_parts()
        // Without a byte of a head, what has come was the rest of a body that nobody reads.
        && !parts.read_buf.is_empty()
    {
        parts.io.refuse(StatusCode::REQUEST_TIMEOUT).await;
    }
}

/// Hyper answers a head that is too long with 431, and closes.
fn builder(limits: Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .header_read_timeout(None)
        .max_header_size(limits.max_header_bytes)
        .max_buf_size(limits.max_header_bytes.max(HYPERS_BUFFER));
    builder
}
