//! HTTP/1: one request after the other, and how such a connection leaves.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use hyper::server::conn::http1::{Builder, Connection, Parts, UpgradeableConnection};

use super::io::Io;
use super::leaving::IdleGrace;
use super::moving;
use super::quiet::{Idleness, Quiet};
use super::request::Requests;
use super::state::{Awaited, ConnectionState};
use super::timer::AskedBy;
use crate::config::Limits;
use crate::service::HttpService;

/// Hyper's own limit of a connection's buffers, which must not be below that of a head.
const HYPERS_BUFFER: usize = 8192 + 4096 * 100;

/// Serves until the client or the response closes, until the successor has the connection, or until it was idle
/// for `idle_grace` after it was asked to leave. A connection that is upgraded goes on in the hands of the user's
/// handler.
///
/// Hyper's own `graceful_shutdown` is not used: it closes a fresh connection at once, also when its first
/// request is on its way. Here an idle connection stays open for the grace, and a request that comes
/// within it is answered with `Connection: close`.
///
/// A client that is late with a head is told so; one that is late with anything else is left.
///
/// One that idles for long enough is given back.
pub(super) async fn serve<S: HttpService>(quiet: Quiet<S>) -> Option<Quiet<S>> {
    let Quiet { mut io, mut requests, mut patience, delay } = quiet;
    let state = Arc::clone(io.state());
    let builder = builder(&requests.terms().limits);
    let mut grace = IdleGrace::new(requests.terms().idle_grace);
    let mut idleness = Idleness::of(delay);
    let mut asked_by = AskedBy::default();
    loop {
        let connection = builder.serve_connection(io, requests);
        let mut served = Served::Plain { connection, is_done: false };
        let end = poll_fn(|cx| {
            // Registers the task first: what it is asked while it is polled must not be overlooked.
            let again = asked_by.is_again(cx);
            if !again {
                patience.is_asked_by_another();
                idleness.is_asked_by_another();
            }
            let leaving = state.poll_leaving_again(again, cx);
            if served.poll(&state, cx).is_ready() {
                return Poll::Ready(End::Over);
            }
            let awaited = state.awaited();
            let is_new = patience.is_new(awaited);
            if let Poll::Ready(late) = patience.poll_late(awaited, cx) {
                return Poll::Ready(End::Late(late));
            }
            if state.can_move_now() {
                return Poll::Ready(End::Moves);
            }
            if state.is_idle() {
                state.leave_if_stuck();
            }
            if idleness.poll_over(awaited, is_new.then(|| patience.since()), cx).is_ready() {
                state.quiet_down();
                let ended = served.poll(&state, cx);
                match state.is_quiet() {
                    _ if ended.is_ready() => return Poll::Ready(End::Over),
                    true => return Poll::Ready(End::Idles),
                    // Hyper was kept from reading, so it must be asked again.
                    false => cx.waker().wake_by_ref(),
                }
                idleness = Idleness::after_long();
            }
            ready!(leaving);
            grace.poll_over(state.is_idle(), cx).map(|()| End::Left)
        });
        let end = end.await;
        let Parts { io: whole, read_buf, service, .. } = served.into_parts()?;
        match end {
            // Without a byte of a head, what has come was the rest of a body that nobody reads.
            End::Late(Awaited::Head) if !read_buf.is_empty() => {
                drop(read_buf);
                whole.refuse(StatusCode::REQUEST_TIMEOUT).await;
                return None;
            }
            End::Left | End::Late(Awaited::Request { .. }) => {
                drop(read_buf);
                whole.part().await;
                return None;
            }
            End::Over => {
                drop(read_buf);
                whole.linger().await;
                return None;
            }
            End::Late(_) => {
                drop(read_buf);
                whole.cut().await;
                return None;
            }
            End::Moves => {
                io = moving::give(whole, read_buf, true, patience.since()).await?;
                requests = service;
            }
            // Hyper has read it with the last request, and nobody else has seen it come.
            End::Idles if !read_buf.is_empty() => {
                state.received();
                (io, requests) = (whole.with_unread(read_buf), service);
            }
            End::Idles => {
                let delay = idleness.delay().doubled();
                return Some(Quiet { io: whole, requests: service, patience, delay });
            }
        }
    }
}

/// Why a connection is not polled any more.
enum End {
    Over,
    /// It was asked to leave, and has idled for its grace.
    Left,
    Late(Awaited),
    /// It is between two requests, and another process is to go on with it.
    Moves,
    /// It is between two requests, and has been for a while.
    Idles,
}

/// Hyper's connection, which may be handed over only where the answer says so.
///
/// To a request that asks to upgrade, hyper takes any answer for the last one after which it hands the
/// connection over, if it does not read the request's body, and drops what of the answer is not written yet.
enum Served<S: HttpService> {
    Plain {
        connection: Connection<Io, Requests<S>>,
        /// Hyper has said so, and may only have meant that it would hand the connection over now.
        is_done: bool,
    },
    Upgrading(UpgradeableConnection<Io, Requests<S>>),
    Over,
}

impl<S: HttpService> Served<S> {
    /// Ready when all is written, or the connection handed over. What went wrong was on the client's side,
    /// and hyper has answered it where it could.
    fn poll(&mut self, state: &ConnectionState, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Plain { connection, is_done } = self {
            match Pin::new(&mut *connection).poll(cx) {
                Poll::Pending if state.is_upgrading() => self.upgrade(),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !std::mem::replace(is_done, true) => {
                    return Pin::new(connection).poll(cx).map(drop);
                }
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
        match self {
            Self::Upgrading(connection) => Pin::new(connection).poll(cx).map(drop),
            Self::Plain { .. } | Self::Over => Poll::Ready(()),
        }
    }

    /// The answer waits for this.
    fn upgrade(&mut self) {
        if let Self::Plain { connection, .. } = std::mem::replace(self, Self::Over) {
            *self = Self::Upgrading(connection.with_upgrades());
        }
    }

    fn into_parts(self) -> Option<Parts<Io, Requests<S>>> {
        match self {
            Self::Plain { connection, .. } => Some(connection.into_parts()),
            Self::Upgrading(connection) => connection.into_parts(),
            Self::Over => None,
        }
    }
}

/// Hyper answers a head that is too long with 431, and closes.
fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .header_read_timeout(None)
        .max_header_size(limits.max_header_bytes)
        .max_buf_size(limits.max_header_bytes.max(HYPERS_BUFFER));
    builder
}
