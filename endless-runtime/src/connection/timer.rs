//! A timer that ends on time in a task that is never out of work.
//!
//! Tokio gives each poll of a task a budget; when it is used up, whatever is asked says "not yet", a `Sleep`
//! whose time has come too. A client that sends faster than it is read uses up every budget, so its
//! connection would never be late.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

pub(crate) struct Timer(Pin<Box<Sleep>>);

impl Timer {
    pub(crate) fn at(deadline: Instant) -> Self {
        Self(Box::pin(sleep_until(deadline)))
    }

    pub(crate) fn after(time: Duration) -> Self {
        Self(Box::pin(sleep(time)))
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.0.deadline()
    }

    pub(crate) fn reset(&mut self, deadline: Instant) {
        self.0.as_mut().reset(deadline);
    }

    /// Ready from the deadline on.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut unconstrained(self.0.as_mut())).poll(cx)
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timer").field(&self.deadline()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::task::coop;
    use tokio::time::advance;

    use super::*;

    /// Does work until tokio would have the task wait for its next turn.
    fn use_up_the_budget(cx: &mut Context<'_>) {
        while let Poll::Ready(progress) = coop::poll_proceed(cx) {
            progress.made_progress();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_over_in_time_though_the_task_has_used_up_its_budget() {
        let mut timer = Timer::after(Duration::from_secs(1));
        advance(Duration::from_secs(2)).await;
        let over = poll_fn(|cx| {
            use_up_the_budget(cx);
            Poll::Ready(timer.poll_over(cx))
        });
        assert!(over.await.is_ready());
    }
}
