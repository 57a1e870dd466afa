//! How long a client is waited for.
//!
//! Hyper's own timer of heads also runs while a connection idles; these tell the two apart.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::Terms;
use super::state::{Awaited, ConnectionState};
use super::timer::Timer;
use crate::config::Limits;

/// A stream of HTTP/2 that is late is reset by its own timer. Only if it cannot be, because its client takes
/// nothing, does the connection end, so much later.
const SLACK_FOR_RESET: Duration = Duration::from_secs(1);

/// What a connection is waited for, since when, and until when.
pub(super) struct Patience {
    state: Arc<ConnectionState>,
    terms: Arc<Terms>,
    awaited: Awaited,
    since: Instant,
    timer: Option<Timer>,
    /// Until when the timer runs, and then wakes the task that asks.
    runs_until: Option<Instant>,
}

impl Patience {
    /// With a connection that has been waited for since then.
    pub(super) fn new(state: &Arc<ConnectionState>, terms: &Arc<Terms>, since: Instant) -> Self {
        let (state, terms, awaited) = (Arc::clone(state), Arc::clone(terms), state.awaited());
        let mut patience = Self { state, terms, awaited, since, timer: None, runs_until: None };
        patience.note_head();
        patience
    }

    /// Since when what is awaited now has been.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Whether this is something else than what was awaited when it was asked last.
    pub(super) fn is_new(&self, awaited: Awaited) -> bool {
        self.awaited != awaited
    }

    /// From now on it is another task than before.
    pub(super) fn is_asked_by_another(&mut self) {
        self.runs_until = None;
    }

    /// Ready with `awaited` when it has been awaited for too long, which nothing but a request or its end makes up
    /// for. To be asked after every poll of the
    /// connection: what is awaited is seen to change only then.
    pub(super) fn poll_late(&mut self, awaited: Awaited, cx: &mut Context<'_>) -> Poll<Awaited> {
        let is_new = self.is_new(awaited);
        if is_new {
            self.begin(awaited);
        }
        // A limit beyond the end of time is none.
        let Some(deadline) = self.limit().and_then(|limit| self.since.checked_add(limit)) else {
            return Poll::Pending;
        };
        // One that is set for an earlier moment is left to end, so that not every request sets it anew, or even looks
        // at it.
        if is_new && self.runs_until.is_some_and(|until| self.since < until && until <= deadline) {
            return Poll::Pending;
        }
        let timer = self.timer.get_or_insert_with(|| Timer::at(deadline));
        if timer.deadline() > deadline {
            timer.reset(deadline);
        }
        loop {
            if timer.poll_over(cx).is_pending() {
                self.runs_until = Some(timer.deadline());
                return Poll::Pending;
            }
            if timer.deadline() >= deadline {
                return Poll::Ready(awaited);
            }
            timer.reset(deadline);
        }
    }

    fn begin(&mut self, awaited: Awaited) {
        (self.awaited, self.since) = (awaited, Instant::now());
        self.note_head();
    }

    fn note_head(&mut self) {
        if self.awaited == Awaited::Head && self.terms.limits.read_timeout.is_some() {
            self.state.head_began(self.since);
        }
    }

    fn limit(&self) -> Option<Duration> {
        let Limits { read_timeout, write_timeout, header_timeout, idle_timeout, .. } = self.terms.limits;
        match self.awaited {
            Awaited::Request { .. } => idle_timeout,
            Awaited::Head => [header_timeout, read_timeout].into_iter().flatten().min(),
            // The body has a timer of its own.
            Awaited::Body => None,
            Awaited::Response { .. } => write_timeout,
            Awaited::Stream { .. } => write_timeout.map(|time| time.saturating_add(SLACK_FOR_RESET)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use tokio::time::{advance, timeout};

    fn patience(limits: Limits) -> (Arc<ConnectionState>, Patience) {
        let state = Arc::new(ConnectionState::default());
        let patience = Patience::new(&state, &terms(limits), Instant::now());
        (state, patience)
    }

    fn terms(limits: Limits) -> Arc<Terms> {
        Arc::new(Terms { idle_grace: Duration::ZERO, readiness: None, limits, connect_info: false })
    }

    fn limits() -> Limits {
        Limits {
            header_timeout: Some(Duration::from_secs(30)),
            idle_timeout: Some(Duration::from_secs(120)),
            ..Limits::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_before_a_connection_has_moved_counts() {
        advance(Duration::from_secs(60)).await;
        for (unread, limit) in [(true, 30), (false, 120)] {
            let state = Arc::new(ConnectionState::default());
            if unread {
                state.received();
            }
            let since = Instant::now() - Duration::from_secs(20);
            let mut patience = Patience::new(&state, &terms(limits()), since);
            let (_awaited, took) = late(&mut patience).await;
            assert!((limit - 20) * 1000 <= took && took <= (limit - 20) * 1000 + 1, "{took}");
        }
    }

    async fn is_late(patience: &mut Patience) -> Awaited {
        poll_fn(|cx| patience.poll_late(patience.state.awaited(), cx)).await
    }

    /// How long it takes until something is late, in milliseconds; the timer's grain is one.
    async fn late(patience: &mut Patience) -> (Awaited, u128) {
        let before = Instant::now();
        let late = is_late(patience).await;
        (late, before.elapsed().as_millis())
    }

    /// As the connection's task is polled whenever something has come.
    async fn look(patience: &mut Patience) {
        timeout(Duration::ZERO, is_late(patience)).await.expect_err("nothing is late");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_idles_and_a_head_counts_from_its_first_byte() {
        let (state, mut patience) = patience(limits());
        look(&mut patience).await;
        advance(Duration::from_secs(100)).await;
        state.received();
        assert_eq!(late(&mut patience).await, (Awaited::Head, 30_000));
    }

    #[tokio::test(start_paused = true)]
    async fn more_bytes_of_a_head_do_not_give_it_more_time() {
        let (state, mut patience) = patience(limits());
        state.received();
        for _ in 0..29 {
            look(&mut patience).await;
            advance(Duration::from_secs(1)).await;
            state.received();
        }
        assert_eq!(late(&mut patience).await, (Awaited::Head, 1_000));
    }

    #[tokio::test(start_paused = true)]
    async fn each_request_begins_the_idle_time_anew() {
        let (state, mut patience) = patience(limits());
        for _ in 0..3 {
            look(&mut patience).await;
            advance(Duration::from_secs(119)).await;
            state.received();
            drop(state.request_begins());
            state.flushed();
        }
        assert_eq!(late(&mut patience).await, (Awaited::Request { after: 3 }, 120_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_is_late_until_it_is_flushed() {
        let write_timeout = Some(Duration::from_secs(5));
        let (state, mut patience) = patience(Limits { write_timeout, ..limits() });
        let request = state.request_begins();
        look(&mut patience).await;
        advance(Duration::from_secs(4)).await;
        drop(request);
        assert_eq!(late(&mut patience).await, (Awaited::Response { request: 1 }, 1_000));
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_nothing_is_late() {
        let (state, mut patience) =
            patience(Limits { idle_timeout: Some(Duration::MAX), ..Limits::default() });
        look(&mut patience).await;
        state.received();
        let year = Duration::from_secs(365 * 24 * 3600);
        timeout(year, is_late(&mut patience)).await.expect_err("nothing is late");
    }
}
