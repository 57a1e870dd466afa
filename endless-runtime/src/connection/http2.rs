//! HTTP/2: many requests at once, and leaving by GOAWAY.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use super::io::LINGER;
use super::leaving::IdleGrace;
use super::lent::lend;
use super::quiet::Quiet;
use super::state::Awaited;
use super::timer::AskedBy;
use crate::config::Limits;
use crate::service::HttpService;

/// Serves until the client closes, or, asked to leave, until its streams are finished: hyper sends a GOAWAY
/// that still takes every stream, a PING, and once that is answered a GOAWAY with the last stream's number,
/// so that no request on its way is lost (RFC 9113, section 6.8).
///
/// A client that does not say that it has seen the PING, and takes nothing of an answer, is waited for as an
/// idle one of HTTP/1 is: `idle_grace`. One that has seen it may still be taking what it has asked for, long
/// after the service is done with it: the connection ends by itself when all is taken.
///
/// A connection without a request for `idle_timeout` is asked to leave.
pub(super) async fn serve<S: HttpService>(quiet: Quiet<S>) {
    let Quiet { mut io, requests, mut patience, .. } = quiet;
    let terms = Arc::clone(requests.terms());
    io.speaks_http2();
    let (state, must_say_end) = (Arc::clone(io.state()), io.must_say_end());
    if terms.limits.write_timeout.is_some() {
        state.note_streams();
    }
    let (lent, back) = lend(io);
    let mut connection = Box::pin(builder(&terms.limits).serve_connection(lent, requests));
    let mut grace = IdleGrace::new(terms.idle_grace);
    let mut told = false;
    let mut asked_by = AskedBy::default();
    let mut let_others_go = false;
    let end = poll_fn(|cx| {
        let again = asked_by.is_again(cx);
        if !again {
            patience.is_asked_by_another();
        }
        let leaving = state.poll_leaving_again(again, cx).is_ready();
        if leaving && !std::mem::replace(&mut told, leaving) {
            connection.as_mut().graceful_shutdown();
        }
        // Each answer wakes this task to be written, and tokio runs it before the streams whose answers come next.
        // They go first, once, so that what is ready is written together.
        let_others_go = !let_others_go && !state.has_nothing_in_flight();
        if let_others_go {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // What went wrong was on the client's side, and the protocol has told it.
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::Over);
        }
        match patience.poll_late(state.awaited_of_streams(), cx) {
            Poll::Ready(Awaited::Stream { .. }) => return Poll::Ready(End::Late),
            Poll::Ready(_idle) if !leaving => state.leave(),
            _ => {}
        }
        if !leaving {
            return Poll::Pending;
        }
        if state.take_answers() {
            grace.begin();
        }
        grace.poll_over(!state.is_parting() && state.has_nothing_in_flight(), cx).map(|()| End::Unsaid)
    })
    .await;
    if must_say_end && end == End::Unsaid {
        // As if the client had closed: so does hyper then, which alone has what the end is said with.
        state.hears_no_more();
        let _in_time = timeout(LINGER, connection.as_mut()).await;
    }
    // What a client has sent and nobody has read may be much, and is not kept while it is waited for.
    drop(connection);
    match back.await {
        Ok(io) if end == End::Late => io.cut().await,
        Ok(io) => io.linger().await,
        Err(_gone) => {}
    }
}

/// How it ends.
#[derive(PartialEq)]
enum End {
    /// As the protocol has it.
    Over,
    /// Its client takes nothing.
    Late,
    /// Nothing is half said, and nobody seems to listen.
    Unsaid,
}

/// Hyper's limits stand: 200 streams at a time, and h2's against rapid resets. Against floods of frames that
/// are none of requests, see [`super::frames`].
fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let max_header_bytes = u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX);
    builder.timer(TokioTimer::new()).max_header_list_size(max_header_bytes);
    builder
}
