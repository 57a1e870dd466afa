//! Turns for those that send faster than they are read, or are answered with more than they take.
//!
//! A hundred of them keep every thread busy, each with all that one turn allows, and whoever has a request to make
//! would wait until all have had theirs. So they queue here, and only as many of them as there are threads go on
//! before it is looked for what has come for all the others. With nobody else to serve, all threads are theirs.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::lock::lock;

/// The turns of one process.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    queue: Mutex<Queue>,
    /// Before some have their turn, where it is more than to look for what has come.
    pause: Option<Duration>,
}

#[derive(Debug, Default)]
struct Queue {
    /// How many have had their turn, which is the number of the first that waits.
    given: u64,
    waiting: VecDeque<Waker>,
    /// There is a task that gives the turns.
    are_given: bool,
}

/// Of one connection, which may wait for it. Nothing is lost with one that is not used: nobody waits for its end.
#[derive(Debug, Default)]
pub(super) struct Turn(Option<Place>);

impl Turn {
    /// Waits for it, from now on.
    pub(super) fn queue(&mut self, turns: &Arc<Turns>, cx: &mut Context<'_>) {
        self.0 = turns.queue(cx);
    }

    pub(super) fn is_waited_for(&self) -> bool {
        self.0.is_some()
    }

    /// Ready when it has come, or was not waited for.
    #[inline]
    pub(super) fn poll_come(&mut self, turns: &Turns, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(place) = self.0 {
            ready!(turns.poll(place, cx));
            self.0 = None;
        }
        Poll::Ready(())
    }
}

/// Its number in the queue, from 1: a connection has room for three of these.
#[derive(Clone, Copy, Debug)]
struct Place(NonZeroU64);

impl Turns {
    /// As many as there are threads have one in each pause.
    pub(super) fn after_pauses(pause: Duration) -> Self {
        Self { queue: Mutex::default(), pause: Some(pause) }
    }

    /// Waits for one.
    pub(super) async fn one(self: &Arc<Self>) {
        let mut turn = None;
        poll_fn(|cx| {
            let turn = turn.get_or_insert_with(|| {
                let mut turn = Turn::default();
                turn.queue(self, cx);
                turn
            });
            turn.poll_come(self, cx)
        })
        .await;
    }

    /// How long those who wait keep whoever comes now from its turn.
    pub(super) fn takes(&self) -> Duration {
        let pauses = lock(&self.queue).waiting.len() / Handle::current().metrics().num_workers();
        self.pause.unwrap_or_default().saturating_mul(u32::try_from(pauses).unwrap_or(u32::MAX))
    }

    /// Takes the last place. None is left to whoever is polled outside of tokio, as an upgraded connection may be:
    /// what wakes it is not ours to know.
    fn queue(self: &Arc<Self>, cx: &mut Context<'_>) -> Option<Place> {
        let Ok(runtime) = Handle::try_current() else {
            cx.waker().wake_by_ref();
            return None;
        };
        let mut queue = lock(&self.queue);
        let place = Place(NonZeroU64::MIN.saturating_add(queue.given + queue.waiting.len() as u64));
        queue.waiting.push_back(cx.waker().clone());
        let are_given = mem::replace(&mut queue.are_given, true);
        drop(queue);
        // Not under the lock: a runtime that ends drops it at once.
        if !are_given {
            runtime.spawn(Giver(Arc::clone(self)).give(runtime.metrics().num_workers()));
        }
        Some(place)
    }

    /// Ready when it is this one's turn.
    fn poll(&self, Place(number): Place, cx: &mut Context<'_>) -> Poll<()> {
        let mut queue = lock(&self.queue);
        let Some(ahead) = (number.get() - 1).checked_sub(queue.given) else { return Poll::Ready(()) };
        // Another task may read of the connection by now.
        queue.waiting[usize::try_from(ahead).expect("all are in memory")].clone_from(cx.waker());
        Poll::Pending
    }

    /// Gives the next some turns; returns whether anybody waits still.
    fn give(&self, most: usize) -> bool {
        let mut queue = lock(&self.queue);
        let count = most.min(queue.waiting.len());
        let next: Vec<_> = queue.waiting.drain(..count).collect();
        queue.given += next.len() as u64;
        let is_left = !queue.waiting.is_empty();
        drop(queue);
        next.into_iter().for_each(Waker::wake);
        is_left
    }
}

/// Gives turns, to as many as there are threads at a time, until nobody waits.
struct Giver(Arc<Turns>);

impl Giver {
    /// A task that yields goes on when its thread has nothing else to do and has looked for what has come.
    async fn give(self, threads: usize) {
        loop {
            match self.0.pause {
                Some(pause) => sleep(pause).await,
                None => yield_now().await,
            }
            if !self.0.give(threads) {
                return;
            }
        }
    }
}

/// Its runtime may be one of the user's, and end before those who wait do.
impl Drop for Giver {
    fn drop(&mut self) {
        lock(&self.0.queue).are_given = false;
        self.0.give(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

    use super::*;

    /// Each as often as it can, counting.
    fn crowd(turns: &Arc<Turns>, had: &Arc<[AtomicUsize]>) {
        for number in 0..had.len() {
            let (turns, had) = (Arc::clone(turns), Arc::clone(had));
            tokio::spawn(async move {
                loop {
                    turns.one().await;
                    had[number].fetch_add(1, Relaxed);
                }
            });
        }
    }

    fn counts(had: &[AtomicUsize]) -> Vec<usize> {
        had.iter().map(|count| count.load(Relaxed)).collect()
    }

    #[tokio::test]
    async fn one_of_a_crowd_goes_on_before_others_are_looked_for() {
        let (turns, had) = (Arc::default(), (0..100).map(|_| AtomicUsize::default()).collect());
        crowd(&turns, &had);
        for turn in 1..1000 {
            // As a request that comes meanwhile: what yields goes on when it is looked for such.
            while counts(&had).iter().sum::<usize>() < turn {
                yield_now().await;
            }
            assert_eq!(counts(&had).iter().sum::<usize>(), turn);
        }
        let counts = counts(&had);
        assert!(counts.iter().all(|count| (9..=10).contains(count)), "one after the other: {counts:?}");
    }

    #[tokio::test]
    async fn those_that_are_gone_or_have_moved_to_another_task_hold_nobody_up() {
        let turns = Arc::new(Turns::default());
        for _ in 0..3 {
            turns.queue(&mut Context::from_waker(Waker::noop()));
        }
        let moved = turns.queue(&mut Context::from_waker(Waker::noop())).expect("this is tokio");
        let elsewhere = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { poll_fn(|cx| turns.poll(moved, cx)).await }
        });
        turns.one().await;
        elsewhere.await.expect("no panic");
        assert!(!lock(&turns.queue).are_given);
        turns.one().await;
    }

    /// How often it was.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn nobody_waits_outside_of_tokio_or_for_a_runtime_that_is_gone() {
        let (turns, woken) = (Arc::new(Turns::default()), Arc::new(Woken::default()));
        let waker = Arc::clone(&woken).into();
        let cx = &mut Context::from_waker(&waker);
        assert!(turns.queue(cx).is_none());
        assert_eq!(woken.0.load(Relaxed), 1);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("there is memory");
        let handle = runtime.handle().clone();
        let _within = handle.enter();
        let before = turns.queue(cx).expect("this is tokio");
        drop(runtime);
        let after = turns.queue(cx).expect("this was tokio");
        assert_eq!(woken.0.load(Relaxed), 3);
        assert!(turns.poll(before, cx).is_ready() && turns.poll(after, cx).is_ready());
    }
}
