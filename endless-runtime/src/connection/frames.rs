//! How many frames a client of HTTP/2 may send that cost work and bring nothing: pings, settings, resets and
//! their like, and heads that are larger than honest ones are.
//!
//! A read brings hundreds of them at a time, and the connection's task works through them in one go, while
//! every other connection waits. So they are allowed at a rate, and beyond that the connection is not read:
//! TCP tells the client to wait.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::HTTP2_PREFACE;
use super::heads::{CONTINUATION, DATA, END_STREAM, HEADERS, Head, Heads};
use super::timer::Timer;

/// So many at once, as a client may take back all of its streams, and then so many a second. A client that is told to
/// go and comes again has these again.
const AT_ONCE: f64 = 200.0;
const RATE: f64 = 1000.0;

/// A stream that the server resets has cost it a request, and a client may make it do so by a frame that is wrong
/// (CVE-2025-8671): it counts as so many more.
const FOR_RESET: f64 = 3.0;

/// And one more for so many bytes that the client takes, whose windows it must open as it goes.
const BYTES_FOR_ONE: f64 = 256.0;

/// What is more than this of a request's head costs more than it is worth: a byte of it may stand for
/// thousands (RFC 7541, section 6.1).
const USUAL_HEAD: usize = 4 << 10;

/// So many bytes of that at once, and so many a second.
const LARGE_HEADS: f64 = (64 << 10) as f64;
const LARGE_HEADS_RATE: f64 = (1600 << 10) as f64;

/// What was read of a connection's frames, and what may still be.
pub(super) struct Frames {
    heads: Heads,
    bring_nothing: Allowance,
    large_heads: Allowance,
}

/// Of a connection of which nothing was read, not its preface either.
impl Default for Frames {
    fn default() -> Self {
        Self {
            heads: Heads::after(HTTP2_PREFACE.len()),
            bring_nothing: Allowance::new(AT_ONCE, RATE),
            large_heads: Allowance::new(LARGE_HEADS, LARGE_HEADS_RATE),
        }
    }
}

impl Frames {
    /// Ready when more may be read.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.bring_nothing.poll_some(cx));
        self.large_heads.poll_some(cx)
    }

    /// Takes these bytes until so many frames, or all that there are, have begun in them; returns how many.
    pub(super) fn received(&mut self, bytes: &mut &[u8], most: usize) -> usize {
        let mut count = 0;
        while count < most
            && let Some(head) = self.heads.next(bytes)
        {
            count += 1;
            self.bring_nothing.left -= if brings_nothing(head) { 1.0 } else { 0.0 };
            self.large_heads.left -= beyond_the_usual(head) as f64;
        }
        self.bring_nothing.fill_up_if_used();
        self.large_heads.fill_up_if_used();
        count
    }

    /// So many bytes were sent, and so many streams reset in them.
    pub(super) fn sent(&mut self, bytes: usize, resets: usize) {
        self.bring_nothing.add(bytes as f64 / BYTES_FOR_ONE);
        self.bring_nothing.left -= resets as f64 * FOR_RESET;
        self.bring_nothing.fill_up_if_used();
    }
}

/// What a client may have at once, and more of it as time goes by.
struct Allowance {
    most: f64,
    per_second: f64,
    /// Below 0, nothing is read until it is 0 again.
    left: f64,
    /// When it was filled up last.
    since: Instant,
    timer: Option<Timer>,
}

impl Allowance {
    fn new(most: f64, per_second: f64) -> Self {
        Self { most, per_second, left: most, since: Instant::now(), timer: None }
    }

    /// Ready when there is some.
    fn poll_some(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.left < 0.0 {
            let debt = Duration::from_secs_f64(-self.left / self.per_second);
            let timer = self.timer.get_or_insert_with(|| Timer::after(debt));
            ready!(timer.poll_over(cx));
            self.timer = None;
            self.fill_up();
        }
        Poll::Ready(())
    }

    fn fill_up_if_used(&mut self) {
        if self.left < 0.0 {
            self.fill_up();
        }
    }

    fn fill_up(&mut self) {
        let now = Instant::now();
        self.add((now - self.since).as_secs_f64() * self.per_second);
        self.since = now;
    }

    fn add(&mut self, some: f64) {
        self.left = self.most.min(self.left + some);
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

/// How many bytes of a head there are more than usual. It is continued where a frame was too short for it.
fn beyond_the_usual(head: Head) -> usize {
    match head.kind {
        HEADERS => head.length.saturating_sub(USUAL_HEAD),
        CONTINUATION => head.length,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::timeout;

    use super::super::heads::frame;
    use super::*;

    const PING: u8 = 6;

    /// After the preface.
    fn frames() -> Frames {
        let mut frames = Frames::default();
        receive(&mut frames, HTTP2_PREFACE);
        frames
    }

    fn receive(frames: &mut Frames, mut bytes: &[u8]) {
        frames.received(&mut bytes, usize::MAX);
        assert!(bytes.is_empty());
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
        receive(&mut frames, &[bytes.concat(), frame(DATA, END_STREAM, 0), frame(4, 0, 0)].concat());
        assert_eq!(frames.bring_nothing.left, AT_ONCE - 3.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_read_at_its_rate() {
        let mut frames = frames();
        receive(&mut frames, &frame(PING, 0, 8).repeat(200));
        assert_eq!(delay(&mut frames).await, Duration::ZERO);
        receive(&mut frames, &frame(PING, 0, 8).repeat(500));
        let delay = delay(&mut frames).await;
        assert!(delay >= Duration::from_millis(500) && delay < Duration::from_millis(510), "{delay:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_the_server_resets_count_and_those_meanwhile_do() {
        let mut frames = frames();
        frames.sent(0, 66);
        assert_eq!(delay(&mut frames).await, Duration::ZERO);
        frames.sent(0, 100);
        assert!(timeout(Duration::from_millis(150), poll_fn(|cx| frames.poll_ready(cx))).await.is_err());
        frames.sent(0, 100);
        let delay = delay(&mut frames).await;
        assert!(delay >= Duration::from_millis(440) && delay < Duration::from_millis(460), "{delay:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn large_heads_are_read_slowly_and_others_are_not() {
        let mut frames = frames();
        for _ in 0..100_000 {
            receive(&mut frames, &frame(HEADERS, 5, USUAL_HEAD));
        }
        assert_eq!(delay(&mut frames).await, Duration::ZERO);
        // 64 KiB at once, and 160 more.
        receive(&mut frames, &[frame(HEADERS, 0, 16 << 10), frame(CONTINUATION, 0, 212 << 10)].concat());
        let delay = delay(&mut frames).await;
        assert!(delay >= Duration::from_millis(100) && delay < Duration::from_millis(110), "{delay:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_bytes_may_open_its_windows() {
        const WINDOW_UPDATE: u8 = 8;
        let mut frames = frames();
        for _ in 0..100_000 {
            frames.sent(1024, 0);
            receive(&mut frames, &frame(WINDOW_UPDATE, 0, 4));
        }
        assert_eq!(delay(&mut frames).await, Duration::ZERO);
    }
}
