//! A connection that is lent to hyper, which gives none of HTTP/2's back.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::sync::oneshot;

use super::io::Io;

/// It goes back to whoever has lent it when it is dropped.
pub(super) struct Lent {
    /// Until then.
    io: Option<Io>,
    lender: Option<oneshot::Sender<Io>>,
}

/// Lends it; where it comes back to.
pub(super) fn lend(io: Io) -> (Lent, oneshot::Receiver<Io>) {
    let (lender, back) = oneshot::channel();
    (Lent { io: Some(io), lender: Some(lender) }, back)
}

impl Lent {
    fn io(self: Pin<&mut Self>) -> Pin<&mut Io> {
        Pin::new(self.get_mut().io.as_mut().expect("it is not dropped"))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(io), Some(lender)) = (self.io.take(), self.lender.take()) {
            // The lender may be gone first; then so is the connection.
            drop(lender.send(io));
        }
    }
}

impl Read for Lent {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.io().poll_read(cx, buffer)
    }
}

impl Write for Lent {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(Write::is_write_vectored)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write_vectored(cx, slices)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::state::Connections;
    use super::*;
    use crate::listener::Stream;

    #[tokio::test]
    async fn it_comes_back_when_it_is_dropped() {
        let (_client, server) = tokio::io::duplex(1);
        let registered = Connections::new(Arc::default()).admit();
        let state = Arc::clone(registered.state());
        let (lent, mut back) = lend(Io::new(Stream::in_memory(server), registered));
        assert!(back.try_recv().is_err());
        drop(lent);
        assert!(Arc::ptr_eq(back.await.expect("it is back").state(), &state));
    }
}
