//! The time that a connection may still idle once it was asked to leave.

use std::task::{Context, Poll};
use std::time::Duration;

use super::timer::Timer;

/// Counts from the moment at which a leaving connection became idle; a request starts it anew.
pub(super) struct IdleGrace {
    time: Duration,
    /// Set while leaving and idle.
    deadline: Option<Timer>,
}

impl IdleGrace {
    pub(super) fn new(time: Duration) -> Self {
        Self { time, deadline: None }
    }

    /// From now on, again.
    pub(super) fn begin(&mut self) {
        self.deadline = None;
    }

    /// Ready when a leaving connection has been idle for long enough.
    pub(super) fn poll_over(&mut self, is_idle: bool, cx: &mut Context<'_>) -> Poll<()> {
        if !is_idle {
            self.begin();
            return Poll::Pending;
        }
        self.deadline.get_or_insert_with(|| Timer::after(self.time)).poll_over(cx)
    }
}
