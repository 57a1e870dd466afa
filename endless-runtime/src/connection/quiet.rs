//! Connections that idle.
//!
//! Hyper keeps a parser, a buffer of 8 KiB and the room for a request's future for a connection on which
//! nothing happens, and most connections of a service idle most of the time. One that has done so for a moment
//! gives all that back and is quiet, no more than its socket and its time-outs, until something comes. So is
//! one that has just been accepted.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::io::Io;
use super::leaving::IdleGrace;
use super::patience::Patience;
use super::request::Requests;
use super::state::Awaited;
use super::timer::Timer;
use super::{Protocol, moving};

/// A connection of which no request is under way, and what is needed to serve the next.
pub(super) struct Quiet<S> {
    pub(super) io: Io,
    pub(super) requests: Requests<S>,
    pub(super) patience: Patience,
    pub(super) delay: Delay,
}

/// What ends a quiet time.
pub(super) enum End {
    /// A request begins, in this protocol.
    Heard(Protocol),
    /// Another process is to go on with it.
    Moves,
    /// What has come, and it was too little for too long, could be the beginning of either.
    LateHead,
    /// The client has closed it, or it has idled for too long.
    Over,
}

impl<S> Quiet<S> {
    /// Waits for any of these, and finds out which protocol is spoken unless that is `agreed`; a connection that is
    /// asked to leave stays for `idle_grace`. What has come already is heard at once.
    pub(super) async fn until_heard(&mut self, agreed: Option<Protocol>) -> End {
        let mut grace = IdleGrace::new(self.requests.terms().idle_grace);
        self.patience.is_asked_by_another();
        poll_fn(|cx| {
            // Registers the task first: what it is asked while it is polled must not be overlooked.
            let leaving = self.io.state().poll_leaving(cx);
            if let Poll::Ready(protocol) = self.poll_heard(agreed, cx) {
                self.delay.begin_anew_after(self.patience.since().elapsed());
                return Poll::Ready(protocol.map_or(End::Over, End::Heard));
            }
            match self.patience.poll_late(self.io.state().awaited(), cx) {
                Poll::Ready(Awaited::Head) => return Poll::Ready(End::LateHead),
                Poll::Ready(_) => return Poll::Ready(End::Over),
                Poll::Pending => {}
            }
            if self.io.state().is_moving() {
                return Poll::Ready(End::Moves);
            }
            ready!(leaving);
            grace.poll_over(true, cx).map(|()| End::Over)
        })
        .await
    }

    /// Ready with what is spoken as soon as something is; with nothing at the connection's end.
    fn poll_heard(&mut self, agreed: Option<Protocol>, cx: &mut Context<'_>) -> Poll<Option<Protocol>> {
        loop {
            let heard = self.io.given_back();
            if !heard.is_empty()
                && let Some(protocol) = agreed.or_else(|| Protocol::of(heard))
            {
                return Poll::Ready(Some(protocol));
            }
            match ready!(self.io.poll_ahead(cx)) {
                Ok(0) if self.io.given_back().is_empty() => return Poll::Ready(None),
                // Hyper says what is wrong with a head that stops short.
                Ok(0) => return Poll::Ready(Some(Protocol::Http1)),
                Ok(_) => {}
                Err(_) => return Poll::Ready(None),
            }
        }
    }

    /// Gives it to the successor; returns it if it stays, and is to leave.
    pub(super) async fn give(self, protocol: Option<Protocol>) -> Option<Self> {
        let is_http1 = protocol == Some(Protocol::Http1);
        let Self { io, requests, patience, delay } = self;
        let io = moving::give(io, Bytes::new(), is_http1, patience.since()).await?;
        Some(Self { io, requests, patience, delay })
    }
}

/// How long a connection idles before it is quiet.
///
/// Not long, at first: most are quiet after one request, and while a thousand come at a time, the memory of each is
/// one more that is never given back. One that is used again soon is given twice as long each time, so that a busy
/// one is hardly ever asked.
#[derive(Clone, Copy)]
pub(super) struct Delay(Duration);

const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(2);

impl Default for Delay {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Delay {
    /// For the next time.
    pub(super) fn doubled(self) -> Self {
        Self(LONGEST.min(self.0 * 2))
    }

    /// It was not used again soon.
    fn begin_anew_after(&mut self, idled: Duration) {
        if idled >= LONGEST {
            *self = Self::default();
        }
    }
}

/// When a connection has idled for long enough to be quiet.
pub(super) struct Idleness {
    /// The request after which it idled when the timer was set.
    since: Option<u64>,
    delay: Delay,
    timer: Option<Timer>,
    /// Until when the timer runs, and then wakes the task that asks.
    runs_until: Option<Instant>,
}

impl Idleness {
    pub(super) fn of(delay: Delay) -> Self {
        Self { since: None, delay, timer: None, runs_until: None }
    }

    /// Of one that could not be quiet: it is asked again, and not often.
    pub(super) fn after_long() -> Self {
        let timer = Some(Timer::after(LONGEST));
        Self { since: None, delay: Delay(LONGEST), timer, runs_until: None }
    }

    pub(super) fn delay(&self) -> Delay {
        self.delay
    }

    /// From now on it is another task than before.
    pub(super) fn is_asked_by_another(&mut self) {
        self.runs_until = None;
    }

    /// Ready when it has. To be asked after every poll of the connection; `begun` is when `awaited` did, if that is
    /// now.
    pub(super) fn poll_over(
        &mut self,
        awaited: Awaited,
        begun: Option<Instant>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Awaited::Request { after } = awaited else { return Poll::Pending };
        if begun.zip(self.runs_until).is_some_and(|(now, until)| now < until) {
            return Poll::Pending;
        }
        let timer = self.timer.get_or_insert_with(|| Timer::after(self.delay.0));
        let request = self.since.get_or_insert(after);
        loop {
            if timer.poll_over(cx).is_pending() {
                self.runs_until = Some(timer.deadline());
                return Poll::Pending;
            }
            if *request == after {
                return Poll::Ready(());
            }
            *request = after;
            self.delay = self.delay.doubled();
            timer.reset(Instant::now() + self.delay.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::time::advance;

    use super::*;

    fn is_over(idleness: &mut Idleness, awaited: Awaited) -> bool {
        idleness.poll_over(awaited, None, &mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_idles_is_quiet_soon_and_a_busy_one_is_not() {
        let mut idleness = Idleness::of(Delay::default());
        assert!(!is_over(&mut idleness, Awaited::Request { after: 1 }));
        advance(FIRST * 2).await;
        assert!(!is_over(&mut idleness, Awaited::Response { request: 2 }));
        assert!(!is_over(&mut idleness, Awaited::Request { after: 2 }), "it was busy in between");
        advance(FIRST).await;
        assert!(!is_over(&mut idleness, Awaited::Request { after: 2 }), "one that was has longer");
        advance(FIRST * 2).await;
        assert!(is_over(&mut idleness, Awaited::Request { after: 2 }));
    }

    /// What it costs to be quiet is not paid for each request of one that comes back.
    #[test]
    fn one_that_is_used_again_soon_is_left_alone_for_longer_each_time() {
        let mut delay = Delay::default();
        for factor in [1, 2, 4, 8] {
            assert_eq!(delay.0, FIRST * factor);
            delay = delay.doubled();
            delay.begin_anew_after(LONGEST / 2);
        }
        delay.begin_anew_after(LONGEST);
        assert_eq!(delay.0, FIRST);
        assert_eq!((0..100).fold(delay, |delay, _| delay.doubled()).0, LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn however_busy_it_was_it_is_quiet_in_the_end() {
        let mut idleness = Idleness::of(Delay::default());
        for after in 0..100 {
            assert!(!is_over(&mut idleness, Awaited::Request { after }));
            advance(LONGEST * 2).await;
        }
        assert!(!is_over(&mut idleness, Awaited::Request { after: 100 }));
        advance(LONGEST * 2).await;
        assert!(is_over(&mut idleness, Awaited::Request { after: 100 }));
    }
}
