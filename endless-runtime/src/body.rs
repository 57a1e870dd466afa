//! The body of a request, which knows whether it was read to its end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::connection::{Crumbs, Reading, Timer};
use crate::error::BoxError;

/// The body of a request.
///
/// It is hyper's [`Incoming`] that remembers whether it was read to its end: what is left unread of a body
/// still waits in the socket, and nobody may take it for the next request. For the unit test of a handler,
/// [`Body::empty`] and [`Body::from`] make one without a connection.
#[derive(Debug)]
pub struct Body {
    source: Source,
    progress: Progress,
    /// Until its end: the connection has something to read.
    reading: Option<Reading>,
    deadline: Option<Deadline>,
}

/// Until when a body must be read, and whether it was.
#[derive(Debug)]
pub(crate) struct Deadline {
    timer: Timer,
    was_late: Arc<AtomicBool>,
}

impl Deadline {
    pub(crate) fn at(time: Instant) -> Self {
        Self { timer: Timer::at(time), was_late: Arc::default() }
    }

    /// Tells whoever answers the request.
    pub(crate) fn watch(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.was_late)
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        ready!(self.timer.poll_over(cx));
        self.was_late.store(true, Relaxed);
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the request takes longer than read_timeout"))
    }
}

/// How far it was read; what has ended, well or badly, stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Unread,
    Ended,
    Failed,
}

#[derive(Debug)]
enum Source {
    Connection(Incoming, Crumbs<hyper::Error>),
    Memory(Option<Bytes>),
}

impl Body {
    /// A body without a byte.
    pub fn empty() -> Self {
        Self { source: Source::Memory(None), progress: Progress::Ended, reading: None, deadline: None }
    }

    /// Whether every byte and trailer of the body was taken out. True from the start for a request
    /// without a body.
    pub fn is_read_to_end(&self) -> bool {
        self.progress == Progress::Ended
    }

    /// `begins` is asked only if there is something to read.
    pub(crate) fn from_connection(
        incoming: Incoming,
        deadline: Option<Deadline>,
        begins: impl FnOnce() -> Reading,
    ) -> Self {
        let (progress, reading) = match http_body::Body::is_end_stream(&incoming) {
            true => (Progress::Ended, None),
            false => (Progress::Unread, Some(begins())),
        };
        Self { source: Source::Connection(incoming, Crumbs::default()), progress, reading, deadline }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let (incoming, crumbs) = match &mut self.source {
            Source::Connection(incoming, crumbs) => (incoming, crumbs),
            Source::Memory(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        };
        if let Poll::Ready(frame) = crumbs.poll_frame(incoming, cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let late = match &mut self.deadline {
            Some(deadline) => ready!(deadline.poll_late(cx)),
            None => return Poll::Pending,
        };
        // Nobody reads the rest.
        self.source = Source::Memory(None);
        Poll::Ready(Some(Err(late.into())))
    }

    /// Hyper's own body, for services written against it.
    pub(crate) fn into_incoming(self) -> Option<Incoming> {
        match self.source {
            Source::Connection(incoming, _) => Some(incoming),
            Source::Memory(_) => None,
        }
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(bytes: B) -> Self {
        let bytes: Bytes = bytes.into();
        let (bytes, progress) = match bytes.is_empty() {
            true => (None, Progress::Ended),
            false => (Some(bytes), Progress::Unread),
        };
        Self { source: Source::Memory(bytes), progress, reading: None, deadline: None }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // Hyper never says that a body of known length is over, if it comes to its end after the end of the
        // response.
        if self.progress != Progress::Unread {
            return Poll::Ready(None);
        }
        let frame = ready!(self.poll_source(cx));
        // A known length ends with its last byte, without a further frame that says so.
        self.progress = match &frame {
            Some(Err(_)) => Progress::Failed,
            Some(Ok(_)) if !self.is_end_stream() => Progress::Unread,
            Some(Ok(_)) | None => Progress::Ended,
        };
        match self.progress {
            Progress::Unread => {}
            Progress::Ended => self.reading.take().into_iter().for_each(Reading::end),
            Progress::Failed => self.reading = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Connection(incoming, crumbs) => crumbs.is_empty() && incoming.is_end_stream(),
            Source::Memory(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Connection(incoming, crumbs) => crumbs.size_hint(incoming),
            Source::Memory(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn it_knows_when_it_was_read_to_its_end() {
        assert!(Body::empty().is_read_to_end());
        let mut body = Body::from("some bytes");
        assert!(!body.is_read_to_end());
        let frame = body.frame().await.expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data"), "some bytes");
        assert!(body.is_read_to_end());
    }
}
