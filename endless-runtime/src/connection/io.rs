//! The bytes of one connection: hyper's I/O traits over the accepted stream, with the bytes that were read
//! to choose a protocol given back first, and with the connection's registration, so that the connection
//! counts for as long as anybody, an upgraded handler too, holds its I/O.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::{Buf as _, Bytes, BytesMut};
use http::StatusCode;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;

use super::farewell::Farewell;
use super::frames::Frames;
use super::state::{ConnectionState, Registered};
use super::timer::Timer;
use crate::listener::Stream;

/// How long a client that has sent more than was read may take to close its side after ours. To close while
/// something of the client's is on its way or unread is to reset the connection, and a reset takes the last
/// response from a client that has not read it yet (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(1);

/// How much is read of one connection before others have their turn. Whoever sends faster than it is read
/// would keep a thread for as long as tokio lets a task go on, which is a megabyte and more.
const IN_A_ROW: usize = 64 << 10;

pub(crate) struct Io {
    stream: TokioIo<Heard>,
    already_read: Bytes,
    /// Set once our side is closed.
    linger: Option<Timer>,
}

impl Io {
    pub(crate) fn new(stream: Stream, registered: Registered) -> Self {
        let stream = TokioIo::new(Heard { stream, registered, http2: None, in_a_row: 0 });
        Self { stream, already_read: Bytes::new(), linger: None }
    }

    pub(crate) fn state(&self) -> &std::sync::Arc<ConnectionState> {
        self.stream.inner().registered.state()
    }

    /// Reads more of the connection's first bytes into `buffer`; 0 at its end.
    pub(crate) async fn read_ahead(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.stream.inner_mut().read_buf(buffer).await
    }

    /// Gives back what [`Io::read_ahead`] took.
    pub(crate) fn give_back(&mut self, bytes: Bytes) {
        debug_assert!(self.already_read.is_empty(), "bytes are given back once");
        self.already_read = bytes;
    }

    /// The connection without anything that reads or writes, and what was read of it.
    pub(crate) fn into_parts(self) -> (Stream, Registered, Bytes) {
        let Heard { stream, registered, .. } = self.stream.into_inner();
        (stream, registered, self.already_read)
    }

    /// Takes the bytes that were given back.
    pub(crate) fn take_back(&mut self) -> Bytes {
        std::mem::take(&mut self.already_read)
    }

    /// From now on, a flood of HTTP/2's frames is read slowly, and what is said is known.
    pub(crate) fn speaks_http2(&mut self) {
        self.state().cannot_move();
        let frames = Frames::after(&self.already_read);
        self.stream.inner_mut().http2 = Some((frames, Farewell::default()));
    }

    /// Answers with an empty response, in HTTP/1 and in hyper's place, and closes. Nothing else may be half
    /// written.
    pub(crate) async fn refuse(mut self, status: StatusCode) {
        let date = httpdate::fmt_http_date(SystemTime::now());
        let response =
            format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\ndate: {date}\r\n\r\n");
        if let Ok(Ok(())) =
            timeout(LINGER, self.stream.inner_mut().stream.write_all(response.as_bytes())).await
        {
            let _closed = poll_fn(|cx| Pin::new(&mut self).poll_shutdown(cx)).await;
        }
    }

    /// Ready when the client has closed its side. What it sends instead is kept, and nothing is read behind it.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.already_read.is_empty() {
            return Poll::Pending;
        }
        let mut bytes = [0; 4096];
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(Pin::new(self.stream.inner_mut()).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.already_read = Bytes::copy_from_slice(buffer.filled());
        Poll::Pending
    }

    /// Ready when the client has closed its side, or has had its time.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger.get_or_insert_with(|| Timer::after(LINGER));
        let mut dropped = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut dropped);
            match Pin::new(self.stream.inner_mut()).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_ended) => return Poll::Ready(()),
                Poll::Pending => return linger.poll_over(cx),
            }
        }
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // Whoever looks whether it can move does so after each poll, and so needs no waker.
        if self.state().holds_back() {
            return Poll::Pending;
        }
        if self.state().looks_for_end() {
            return self.poll_end(cx);
        }
        if self.already_read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let count = self.already_read.len().min(buffer.remaining());
        buffer.put_slice(&self.already_read[..count]);
        self.already_read.advance(count);
        if self.already_read.is_empty() {
            self.already_read = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.state().writes();
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    /// Hyper flushes when its own buffer is empty, so a flush that is done means that every response that
    /// has ended is with the kernel.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.state().flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state().closes();
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        match self.state().has_unread() {
            true => self.poll_linger(cx).map(Ok),
            false => Poll::Ready(Ok(())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.state().writes();
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

/// A connection's stream, and its registration.
struct Heard {
    stream: Stream,
    registered: Registered,
    http2: Option<(Frames, Farewell)>,
    /// How much was read since others had their turn.
    in_a_row: usize,
}

impl Heard {
    /// So much of these was sent.
    fn sent(&mut self, mut count: usize, slices: &[io::IoSlice<'_>]) {
        let Some((frames, farewell)) = &mut self.http2 else { return };
        frames.sent(count);
        for slice in slices {
            let some = count.min(slice.len());
            farewell.sent(&slice[..some], self.registered.state());
            count -= some;
        }
    }
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some((frames, _)) = &mut self.http2 {
            ready!(frames.poll_ready(cx));
        }
        if self.in_a_row >= IN_A_ROW {
            self.in_a_row = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(cx, buffer) else {
            self.in_a_row = 0;
            return Poll::Pending;
        };
        result?;
        let read = &buffer.filled()[before..];
        self.in_a_row += read.len();
        if !read.is_empty() {
            self.registered.state().received();
        }
        if let Some((frames, _)) = &mut self.http2 {
            frames.received(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.sent(sent, &[io::IoSlice::new(bytes)]);
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.sent(sent, slices);
        Poll::Ready(Ok(sent))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use super::super::state::Connections;
    use super::*;

    #[tokio::test]
    async fn others_have_their_turn_while_one_sends() {
        let (mut client, server) = tokio::io::duplex(10 * IN_A_ROW);
        client.write_all(&[0; 10 * IN_A_ROW]).await.expect("there is room");
        let registered = Connections::new(Arc::default()).admit();
        let mut heard = Heard { stream: Stream::in_memory(server), registered, http2: None, in_a_row: 0 };
        let cx = &mut Context::from_waker(Waker::noop());
        for _ in 0..9 {
            let (mut bytes, mut read) = (vec![0; IN_A_ROW / 4], 0);
            loop {
                let mut buffer = ReadBuf::new(&mut bytes);
                match Pin::new(&mut heard).poll_read(cx, &mut buffer) {
                    Poll::Ready(result) => result.expect("no error"),
                    Poll::Pending => break,
                }
                read += buffer.filled().len();
            }
            assert_eq!(read, IN_A_ROW);
        }
    }
}
