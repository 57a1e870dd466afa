//! A stream that is a unix socket's or one in memory.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::UnixStream;

#[derive(Debug)]
pub(crate) enum LocalStream {
    Unix(UnixStream),
    Memory(DuplexStream),
}

trait Both: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

impl LocalStream {
    pub(crate) fn into_std(self) -> io::Result<std::os::unix::net::UnixStream> {
        match self {
            Self::Unix(stream) => stream.into_std(),
            Self::Memory(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn either(self: Pin<&mut Self>) -> Pin<&mut dyn Both> {
        Pin::new(match self.get_mut() {
            Self::Unix(stream) => stream,
            Self::Memory(stream) => stream,
        })
    }
}

impl AsFd for LocalStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Memory(_) => unreachable!("what is in memory is never accepted"),
        }
    }
}

impl AsyncRead for LocalStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.either().poll_read(cx, to)
    }
}

impl AsyncWrite for LocalStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.either().poll_write(cx, from)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.either().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.either().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.either().poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
