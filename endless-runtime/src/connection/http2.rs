//! HTTP/2: many requests at once, and leaving by GOAWAY.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::io::Io;
use super::leaving::IdleGrace;
use super::request::Requests;
use crate::service::HttpService;

/// Serves until the client closes, or, asked to leave, until its streams are finished: hyper sends a GOAWAY
/// that still takes every stream, a PING, and once that is answered a GOAWAY with the last stream's number,
/// so that no request on its way is lost (RFC 9113, section 6.8).
///
/// A client that answers nothing, not even the PING, is waited for as an idle one of HTTP/1 is: `idle_grace`.
pub(super) async fn serve<S: HttpService>(io: Io, requests: Requests<S>, idle_grace: Duration) {
    let state = Arc::clone(io.state());
    let connection =
        Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).serve_connection(io, requests);
    let mut connection = pin!(connection);
    let mut grace = IdleGrace::new(idle_grace);
    let mut told = false;
    poll_fn(|cx| {
        let leaving = state.poll_leaving(cx).is_ready();
        if leaving && !std::mem::replace(&mut told, leaving) {
            connection.as_mut().graceful_shutdown();
        }
        match connection.as_mut().poll(cx) {
            // What went wrong was on the client's side, and the protocol has told it.
            Poll::Ready(_ended) => Poll::Ready(()),
            Poll::Pending if leaving => grace.poll_over(state.has_nothing_in_flight(), cx),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
}
