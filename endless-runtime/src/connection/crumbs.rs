//! Bodies that come in pieces of a few bytes.
//!
//! A chunk of one byte costs its client six, and the server as much work as a large one, and whoever collects a
//! body thirty times its memory. No honest client sends thousands of them as fast as it can. So from then on
//! they are read slowly, and passed on together: where a body is divided means nothing (RFC 9112, section 7.1).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use super::pace::PAUSE;
use super::timer::Timer;

/// In bytes, what is less than this is a crumb.
const CRUMB: usize = 64;

/// So many in a row pass as they come.
const FREE: u32 = 1024;

/// And then so many between two pauses.
const AT_A_TIME: u32 = 64;

/// What a body gives when it is asked; nothing, at its end.
type Next<E> = Option<Result<Frame<Bytes>, E>>;

/// What is known of the crumbs of one body.
#[derive(Debug)]
pub(crate) struct Crumbs<E> {
    in_a_row: u32,
    gathered: Option<Box<Gathered>>,
    /// What came after what was gathered. Boxed, as it rarely is, and every request moves its body a few times.
    then: Option<Box<Next<E>>>,
}

#[derive(Debug)]
struct Gathered {
    bytes: BytesMut,
    count: u32,
    /// When they are passed on.
    pause: Timer,
}

impl<E> Default for Crumbs<E> {
    fn default() -> Self {
        Self { in_a_row: 0, gathered: None, then: None }
    }
}

impl<E> Crumbs<E> {
    /// The next frame of `body`. What was gathered comes before its end, trailers or error.
    pub(crate) fn poll_frame<B>(
        &mut self,
        body: &mut B,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>>
    where
        B: Body<Data = Bytes, Error = E> + Unpin,
    {
        if let Some(then) = self.then.take() {
            return Poll::Ready(*then);
        }
        loop {
            if let Some(gathered) = &mut self.gathered {
                if gathered.pause.poll_over(cx).is_ready() {
                    return Poll::Ready(self.pass_on());
                }
                if gathered.count >= AT_A_TIME {
                    return Poll::Pending;
                }
            }
            let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
            match crumb(&frame) {
                Some(crumb) if self.in_a_row >= FREE => self.gather(crumb),
                Some(_) => {
                    self.in_a_row += 1;
                    return Poll::Ready(frame);
                }
                None => {
                    self.in_a_row = 0;
                    return Poll::Ready(self.after_gathered(frame));
                }
            }
        }
    }

    fn gather(&mut self, crumb: &[u8]) {
        let new = || Box::new(Gathered { bytes: BytesMut::new(), count: 0, pause: Timer::after(PAUSE) });
        let gathered = self.gathered.get_or_insert_with(new);
        gathered.bytes.extend_from_slice(crumb);
        gathered.count += 1;
    }

    fn pass_on(&mut self) -> Option<Result<Frame<Bytes>, E>> {
        self.gathered.take().map(|gathered| Ok(Frame::data(gathered.bytes.freeze())))
    }

    fn after_gathered(&mut self, frame: Next<E>) -> Next<E> {
        match self.pass_on() {
            Some(gathered) => {
                self.then = Some(Box::new(frame));
                Some(gathered)
            }
            None => frame,
        }
    }

    /// Whether nothing but the end of the body may still come of what was read of it.
    pub(crate) fn is_empty(&self) -> bool {
        self.gathered.is_none() && self.then.as_deref().is_none_or(Option::is_none)
    }

    /// That of the body and of what was gathered of it.
    pub(crate) fn size_hint(&self, body: &impl Body) -> SizeHint {
        let data = self.then.as_deref().into_iter().flatten().flatten().filter_map(Frame::data_ref);
        let gathered = self.gathered.iter().map(|gathered| gathered.bytes.len());
        let kept = gathered.chain(data.map(Bytes::len)).sum::<usize>() as u64;
        let mut hint = body.size_hint();
        // In this order: neither may pass the other.
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + kept);
        }
        hint.set_lower(hint.lower() + kept);
        hint
    }
}

/// Its bytes, if it is one. One without a byte is none: it costs nobody memory.
fn crumb<E>(frame: &Option<Result<Frame<Bytes>, E>>) -> Option<&[u8]> {
    let data = frame.as_ref()?.as_ref().ok()?.data_ref()?;
    (1..CRUMB).contains(&data.len()).then_some(data)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::future::poll_fn;

    use http::HeaderMap;
    use tokio::time::Instant;

    use super::*;

    /// Its frames, all there at once.
    struct Frames(VecDeque<Frame<Bytes>>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }
    }

    fn bytes(count: usize) -> impl Iterator<Item = Frame<Bytes>> {
        (0..count).map(|place| Frame::data(vec![place as u8].into()))
    }

    async fn collected(mut frames: Frames) -> Vec<Frame<Bytes>> {
        let mut crumbs = Crumbs::default();
        let mut all = Vec::new();
        while let Some(frame) = poll_fn(|cx| crumbs.poll_frame(&mut frames, cx)).await {
            let Ok(frame) = frame;
            all.push(frame);
        }
        all
    }

    #[tokio::test(start_paused = true)]
    async fn thousands_come_slowly_and_together_and_whole() {
        let count = FREE as usize + 10 * AT_A_TIME as usize;
        let trailers = Frame::trailers(HeaderMap::new());
        let began = Instant::now();
        let all = collected(Frames(bytes(count).chain([trailers]).collect())).await;
        assert!(began.elapsed() >= PAUSE * 10, "{:?}", began.elapsed());
        assert_eq!(all.len(), FREE as usize + 10 + 1);
        assert!(all.last().is_some_and(Frame::is_trailers));
        let data = all.iter().filter_map(Frame::data_ref).flatten().copied();
        assert!(data.eq((0..count).map(|place| place as u8)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_come_as_they_are() {
        let began = Instant::now();
        let all = collected(Frames(bytes(FREE as usize).collect())).await;
        assert_eq!((all.len(), began.elapsed()), (FREE as usize, std::time::Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_comes_at_once_and_after_what_was_gathered() {
        let large = || Frame::data(Bytes::from_static(&[0; CRUMB]));
        let few = bytes(FREE as usize + 5);
        let all = collected(Frames(few.chain([large()]).chain(bytes(5)).collect())).await;
        let lengths: Vec<usize> = all.iter().filter_map(Frame::data_ref).map(Bytes::len).collect();
        assert_eq!(lengths[FREE as usize..], [5, CRUMB, 1, 1, 1, 1, 1]);
    }
}
