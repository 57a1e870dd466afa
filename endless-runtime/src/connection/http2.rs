//! HTTP/2: many requests at once, and leaving by GOAWAY.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;

use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::io::Io;
use super::request::Requests;
use crate::service::HttpService;

/// Serves until the client closes, or, asked to leave, until its streams are finished: hyper sends a GOAWAY
/// that still takes every stream, a PING, and once that is answered a GOAWAY with the last stream's number, so
/// that no request on its way is lost (RFC 9113, section 6.8).
pub(super) async fn serve<S: HttpService>(io: Io, requests: Requests<S>) {
    let state = Arc::clone(io.state());
    let connection =
        Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).serve_connection(io, requests);
    let mut connection = pin!(connection);
    let mut told = false;
    poll_fn(|cx| {
        if !told && state.poll_leaving(cx).is_ready() {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        // What went wrong was on the client's side, and the protocol has told it.
        connection.as_mut().poll(cx).map(|_ended| ())
    })
    .await;
}
