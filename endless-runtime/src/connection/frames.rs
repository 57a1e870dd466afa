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
use super::timer::Timer;

/// So many at once, and then so many a second.
const RATE: f64 = 1000.0;

/// And one more for so many bytes that the client takes, whose windows it must open as it goes.
const BYTES_FOR_ONE: f64 = 256.0;

const HEADER: usize = 9;

/// What was read of a connection's frames, and what may still be.
pub(super) struct Frames {
    header: [u8; HEADER],
    /// How much of the header has come.
    filled: usize,
    /// How much of the payload, or of the preface, is to come.
    skip: usize,
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
        let mut frames = Self {
            header: [0; HEADER],
            filled: 0,
            skip: HTTP2_PREFACE.len(),
            left: RATE,
            since,
            timer: None,
        };
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

    pub(super) fn received(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let some = bytes.len().min(HEADER - self.filled);
            self.header[self.filled..self.filled + some].copy_from_slice(&bytes[..some]);
            self.filled += some;
            bytes = &bytes[some..];
            if self.filled == HEADER {
                self.begins();
            }
        }
        if self.left < 0.0 {
            self.fill_up();
        }
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.left = RATE.min(self.left + bytes as f64 / BYTES_FOR_ONE);
    }

    fn begins(&mut self) {
        let [a, b, c, kind, flags, ..] = self.header;
        self.filled = 0;
        self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
        if brings_nothing(kind, flags, self.skip) {
            self.left -= 1.0;
        }
    }

    fn fill_up(&mut self) {
        let now = Instant::now();
        self.left = RATE.min(self.left + (now - self.since).as_secs_f64() * RATE);
        self.since = now;
    }
}

/// RFC 9113, section 6: all but HEADERS, and DATA with bytes or an end.
fn brings_nothing(kind: u8, flags: u8, length: usize) -> bool {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const END_STREAM: u8 = 1;
    match kind {
        DATA => length == 0 && flags & END_STREAM == 0,
        HEADERS => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(payload).expect("short").to_be_bytes();
        let mut bytes = vec![a, b, c, kind, flags, 0, 0, 0, 0];
        bytes.resize(HEADER + payload, b'x');
        bytes
    }

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
    async fn frames_are_found_however_they_are_cut() {
        let bytes = [frame(PING, 0, 8), frame(0, 0, 300), frame(0, 0, 0), frame(1, 5, 20), frame(4, 0, 0)];
        let bytes = bytes.concat();
        for size in 1..bytes.len() {
            let mut frames = frames();
            bytes.chunks(size).for_each(|some| frames.received(some));
            assert_eq!(frames.left, RATE - 3.0, "in pieces of {size}");
        }
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
