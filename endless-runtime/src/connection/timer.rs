//! A timer that ends on time in a task that is never out of work.
//!
//! Tokio gives each poll of a task a budget; when it is used up, whatever is asked says "not yet", a `Sleep`
//! whose time has come too. A client that sends faster than it is read uses up every budget, so its
//! connection would never be late.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Which task has asked.
#[derive(Default)]
pub(crate) struct AskedBy(Option<Waker>);

impl AskedBy {
    /// Whether the one that asks now did so before.
    pub(crate) fn is_again(&mut self, cx: &mut Context<'_>) -> bool {
        let again = self.0.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !again {
            self.0 = Some(cx.waker().clone());
        }
        again
    }
}

pub(crate) struct Timer(Pin<Box<Set>>);

pin_project! {
    struct Set {
        #[pin]
        sleep: Sleep,
        // Whom it wakes when it ends.
        wakes: Option<Waker>,
    }
}

impl Timer {
    pub(crate) fn at(deadline: Instant) -> Self {
        Self::of(sleep_until(deadline))
    }

    pub(crate) fn after(time: Duration) -> Self {
        Self::of(sleep(time))
    }

    fn of(sleep: Sleep) -> Self {
        Self(Box::pin(Set { sleep, wakes: None }))
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.0.sleep.deadline()
    }

    pub(crate) fn reset(&mut self, deadline: Instant) {
        let set = self.0.as_mut().project();
        set.sleep.reset(deadline);
        // Tokio forgets whom it has woken.
        *set.wakes = None;
    }

    /// Ready from the deadline on.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut set = self.0.as_mut().project();
        // As long as it runs and wakes this very task, there is nothing to do: a connection asks with every request.
        if !set.sleep.is_elapsed() && set.wakes.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        let over = Pin::new(&mut unconstrained(set.sleep.as_mut())).poll(cx);
        *set.wakes = over.is_pending().then(|| cx.waker().clone());
        over
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

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

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    impl Task {
        fn finds_over(self: &Arc<Self>, timer: &mut Timer) -> bool {
            timer.poll_over(&mut Context::from_waker(&Arc::clone(self).into())).is_ready()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_asked_last_is_woken_as_often_as_it_is_set() {
        let tasks = [Arc::new(Task::default()), Arc::new(Task::default())];
        let woken = || tasks.each_ref().map(|task| task.0.load(Relaxed));
        let mut timer = Timer::after(Duration::from_secs(1));
        for task in [&tasks[0], &tasks[0], &tasks[1], &tasks[1]] {
            assert!(!task.finds_over(&mut timer));
        }
        advance(Duration::from_secs(2)).await;
        assert_eq!(woken(), [0, 1]);
        timer.reset(Instant::now() + Duration::from_secs(1));
        assert!(!tasks[1].finds_over(&mut timer));
        advance(Duration::from_secs(2)).await;
        assert_eq!(woken(), [0, 2]);
        assert!(tasks[1].finds_over(&mut timer));
    }
}
