//! The bytes of one connection: hyper's I/O traits over the accepted stream, with the bytes that were read
//! to choose a protocol given back first, and with the connection's registration, so that the connection
//! counts for as long as anybody, an upgraded handler too, holds its I/O.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;

use super::state::{ConnectionState, Registered};
use crate::listener::Stream;

pub(crate) struct Io {
    stream: TokioIo<Stream>,
    already_read: Bytes,
    registered: Registered,
}

impl Io {
    pub(crate) fn new(stream: Stream, registered: Registered) -> Self {
        Self { stream: TokioIo::new(stream), already_read: Bytes::new(), registered }
    }

    pub(crate) fn state(&self) -> &std::sync::Arc<ConnectionState> {
        self.registered.state()
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
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
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
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}
