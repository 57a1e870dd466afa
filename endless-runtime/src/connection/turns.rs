//! Turns for those that send faster than they are read.
//!
//! A hundred of them keep every thread busy, each with all that one turn allows, and whoever has a request to make
//! would wait until all have had theirs. So they queue here, and only as many of them as there are threads go on
//! before it is looked for what has come for all the others. With nobody else to serve, all threads are theirs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;
use tokio::task::yield_now;

use crate::lock::lock;

/// The turns of one process.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    /// How many have had their turn, which is the number of the first that waits.
    given: u64,
    waiting: VecDeque<Waker>,
    /// There is a task that gives the turns.
    are_given: bool,
}

/// A place in the queue. Nothing is lost with one that is not used: nobody waits for its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn(u64);

impl Turns {
    /// Takes the last place. None is left to whoever is polled outside of tokio, as an upgraded connection may be:
    /// what wakes it is not ours to know.
    pub(super) fn queue(self: &Arc<Self>, cx: &mut Context<'_>) -> Option<Turn> {
        let Ok(runtime) = Handle::try_current() else {
            cx.waker().wake_by_ref();
            return None;
        };
        let mut queue = lock(&self.0);
        queue.waiting.push_back(cx.waker().clone());
        if !queue.are_given {
            queue.are_given = true;
            runtime.spawn(Arc::clone(self).give(runtime.metrics().num_workers()));
        }
        Some(Turn(queue.given + queue.waiting.len() as u64 - 1))
    }

    /// Ready when it is this one's turn.
    pub(super) fn poll(&self, Turn(number): Turn, cx: &mut Context<'_>) -> Poll<()> {
        let mut queue = lock(&self.0);
        let Some(ahead) = number.checked_sub(queue.given) else { return Poll::Ready(()) };
        // Another task may read of the connection by now.
        queue.waiting[usize::try_from(ahead).expect("all are in memory")].clone_from(cx.waker());
        Poll::Pending
    }

    /// Gives turns, to as many as there are `threads` at a time, until nobody waits.
    ///
    /// A task that yields goes on when its thread has nothing else to do and has looked for what has come.
    async fn give(self: Arc<Self>, threads: usize) {
        loop {
            yield_now().await;
            let mut queue = lock(&self.0);
            let next = threads.min(queue.waiting.len());
            queue.given += next as u64;
            queue.waiting.drain(..next).for_each(Waker::wake);
            if queue.waiting.is_empty() {
                queue.are_given = false;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

    use super::*;

    async fn one(turns: &Arc<Turns>) {
        let mut turn = None;
        poll_fn(|cx| turns.poll(*turn.get_or_insert_with(|| turns.queue(cx).expect("this is tokio")), cx))
            .await;
    }

    /// Each as often as it can, counting.
    fn crowd(turns: &Arc<Turns>, had: &Arc<[AtomicUsize]>) {
        for number in 0..had.len() {
            let (turns, had) = (Arc::clone(turns), Arc::clone(had));
            tokio::spawn(async move {
                loop {
                    one(&turns).await;
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
        one(&turns).await;
        elsewhere.await.expect("no panic");
        assert!(!lock(&turns.0).are_given);
        one(&turns).await;
    }

    #[test]
    fn nobody_waits_outside_of_tokio() {
        struct Woken(AtomicUsize);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Relaxed);
            }
        }
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        let turn = Arc::new(Turns::default()).queue(&mut Context::from_waker(&Arc::clone(&woken).into()));
        assert!(turn.is_none());
        assert_eq!(woken.0.load(Relaxed), 1);
    }
}
