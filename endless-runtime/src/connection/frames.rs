//! How many frames a client of HTTP/2 may send that cost work and bring nothing: pings, settings, resets and
//! their like.
//!
//! A read brings hundreds of them at a time, and the connection's task works through them in one go, while
//! every other connection waits. So they are allowed at a rate, and beyond that the connection is not read:
//! TCP tells the client to wait.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::HTTP2_PREFACE;
use super::heads::{DATA, END_STREAM, HEADERS, Head, Heads};
use super::timer::Timer;

/// So many at once, and then so many a second.
const RATE: f64 = 1000.0;

/// And one more for so many bytes that the client takes, whose windows it must open as it goes.
const BYTES_FOR_ONE: f64 = 256.0;

/// What was read of a connection's frames, and what may still be.
pub(super) struct Frames {
    heads: Heads,
    /// How many frames more are free; below 0, nothing is read until it is 0 again.
    left: f64,
    /// When it was filled up last.
    since: Instant,
    timer: Option<Timer>,
}

impl Frames {
    /// Of a connection of which these bytes were read.
    pub(super) fn after(read: &[u8]) -> Self {
        let since = Instant::now();
        let mut frames = Self { heads: Heads::after(HTTP2_PREFACE.len()), left: RATE, since, timer: None };
        frames.received(read);
        frames
    }

    /// Ready when more may be read.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.left < 0.0 {
            let debt = Duration::from_secs_f64(-self.left / RATE);
            let timer = self.timer.get_or_insert_with(|| Timer::after(debt));
            ready!(timer.poll_over(cx));
            self.timer = None;
            self.fill_up();
        }
        Poll::Ready(())
    }

    pub(super) fn received(&mut self, bytes: &[u8]) {
        let left = &mut self.left;
        self.heads.pass(bytes, |head| *left -= if brings_nothing(head) { 1.0 } else { 0.0 });
        if self.left < 0.0 {
            self.fill_up();
        }
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.left = RATE.min(self.left + bytes as f64 / BYTES_FOR_ONE);
    }

    fn fill_up(&mut self) {
        let now = Instant::now();
        self.left = RATE.min(self.left + (now - self.since).as_secs_f64() * RATE);
        self.since = now;
    }
}

/// RFC 9113, section 6: all but HEADERS, and DATA with bytes or an end.
fn brings_nothing(head: Head) -> bool {
    match head.kind {
        DATA => head.length == 0 && head.flags & END_STREAM == 0,
        HEADERS => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::super::heads::frame;
    use super::*;

    const PING: u8 = 6;

    fn frames() -> Frames {
        Frames::after(HTTP2_PREFACE)
    }

    /// How long the next read is put off.
    async fn delay(frames: &mut Frames) -> Duration {
        let before = Instant::now();
        poll_fn(|cx| frames.poll_ready(cx)).await;
        before.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn requests_and_their_bodies_are_free() {
        let bytes = [frame(PING, 0, 8), frame(DATA, 0, 300), frame(DATA, 0, 0), frame(HEADERS, 5, 20)];
        let mut frames = frames();
        frames.received(&[bytes.concat(), frame(DATA, END_STREAM, 0), frame(4, 0, 0)].concat());
        assert_eq!(frames.left, RATE - 3.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_read_at_its_rate() {
        let mut frames = frames();
        frames.received(&frame(PING, 0, 8).repeat(1000));
        assert_eq!(delay(&mut frames).await, Duration::ZERO);
        frames.received(&frame(PING, 0, 8).repeat(500));
        let delay = delay(&mut frames).await;
        assert!(delay >= Duration::from_millis(500) && delay < Duration::from_millis(510), "{delay:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_bytes_may_open_its_windows() {
        const WINDOW_UPDATE: u8 = 8;
        let mut frames = frames();
        for _ in 0..100_000 {
            frames.sent(1024);
            frames.received(&frame(WINDOW_UPDATE, 0, 4));
        }
        assert_eq!(delay(&mut frames).await, Duration::ZERO);
    }
}
