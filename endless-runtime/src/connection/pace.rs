//! How fast a connection is read, so that it does not keep others waiting.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::timer::Timer;
use super::turns::{Turn, Turns};

/// How much is read of one connection, or written, before others have their turn. Whoever sends faster than it is
/// read, or asks for more than it takes, would keep a thread for as long as tokio lets a task go on, which is a
/// megabyte and more.
pub(super) const IN_A_ROW: usize = 64 << 10;

/// What a frame of HTTP/2 is worth in bytes: thousands of short ones fit into a turn, and each is work.
pub(super) const WORK_OF_FRAME: usize = 512;

/// And then nothing, for as long, where what is read brings nothing: a head that is longer than honest ones
/// are, and what is thrown away. This is 50 megabits a second. A client that sends faster is told by TCP to
/// wait, and costs no more than one that does not.
pub(super) const PAUSE: Duration = Duration::from_millis(10);

/// Some at a time, and a pause, and then a turn among all that send without one: a hundred pauses may end at once.
#[derive(Default)]
pub(super) struct Pace {
    since_pause: usize,
    pause: Option<Timer>,
    turn: Turn,
}

impl Pace {
    /// Ready when more may be read.
    pub(super) fn poll_ready(&mut self, turns: &Arc<Turns>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.poll_over(cx));
            self.pause = None;
            self.turn.queue(turns, cx);
            return Poll::Pending;
        }
        self.turn.poll_come(turns, cx)
    }

    /// So much was read.
    pub(super) fn read(&mut self, count: usize) {
        self.since_pause += count;
        if self.since_pause >= IN_A_ROW {
            self.since_pause = 0;
            self.pause = Some(Timer::after(PAUSE));
        }
    }
}

/// The pace of the heads of HTTP/1, one after the other.
#[derive(Default)]
pub(super) struct PaceOfHead {
    number: Option<u64>,
    pace: Pace,
}

impl PaceOfHead {
    /// Whether that of any is.
    pub(super) fn is_slowed_down(&self) -> bool {
        self.pace.pause.is_some() || self.pace.turn.is_waited_for()
    }

    /// At which the head of the request of this number is read; without one it is no head, and has none.
    pub(super) fn of(&mut self, number: Option<u64>) -> Option<&mut Pace> {
        if self.number != number {
            *self = Self { number, pace: Pace::default() };
        }
        number.map(|_| &mut self.pace)
    }
}
