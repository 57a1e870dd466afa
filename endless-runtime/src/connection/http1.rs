//! HTTP/1: one request after the other, and how such a connection leaves.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1::Builder;

use super::io::Io;
use super::leaving::IdleGrace;
use super::request::Requests;
use crate::service::HttpService;

/// Serves until the client or the response closes, or until the connection was idle for `idle_grace` after
/// it was asked to leave. A connection that is upgraded goes on in the hands of the user's handler.
///
/// Hyper's own `graceful_shutdown` is not used: it closes a fresh connection at once, also when its first
/// request is on its way. Here an idle connection stays open for the grace, and a request that comes
/// within it is answered with `Connection: close`.
pub(super) async fn serve<S: HttpService>(io: Io, requests: Requests<S>, idle_grace: Duration) {
    let state = Arc::clone(io.state());
    let connection = Builder::new().header_read_timeout(None).serve_connection(io, requests).with_upgrades();
    let mut connection = pin!(connection);
    let mut grace = IdleGrace::new(idle_grace);
    poll_fn(|cx| match connection.as_mut().poll(cx) {
        // What went wrong was on the client's side, and hyper has answered it where it could.
        Poll::Ready(_ended) => Poll::Ready(()),
        Poll::Pending => {
            ready!(state.poll_leaving(cx));
            grace.poll_over(state.is_idle(), cx)
        }
    })
    .await;
}
