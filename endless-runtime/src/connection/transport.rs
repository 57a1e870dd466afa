//! What a connection's bytes go over: its socket, or TLS over that.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
#[cfg(feature = "_tls")]
use tokio_rustls::server::TlsStream;

use crate::listener::Stream;

#[derive(Debug)]
pub(crate) enum Transport {
    Plain(Stream),
    /// Boxed: it is as large as all the rest of a connection, which nobody shall pay for who does without.
    #[cfg(feature = "_tls")]
    Tls(Box<TlsStream<Stream>>),
}

impl Transport {
    /// The socket, for what is no more part of any protocol.
    pub(crate) fn socket(&mut self) -> &mut Stream {
        match self {
            Self::Plain(stream) => stream,
            #[cfg(feature = "_tls")]
            Self::Tls(stream) => stream.get_mut().0,
        }
    }

    /// The socket, if its bytes are all that there is to know of the connection.
    pub(crate) fn into_plain(self) -> Result<Stream, Self> {
        match self {
            Self::Plain(stream) => Ok(stream),
            #[cfg(feature = "_tls")]
            Self::Tls(_) => Err(self),
        }
    }

    /// Whether the end of a connection is something to be said.
    pub(crate) fn must_say_end(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            #[cfg(feature = "_tls")]
            Self::Tls(_) => true,
        }
    }
}

impl From<Stream> for Transport {
    fn from(stream: Stream) -> Self {
        Self::Plain(stream)
    }
}

#[cfg(feature = "_tls")]
impl From<Box<TlsStream<Stream>>> for Transport {
    fn from(stream: Box<TlsStream<Stream>>) -> Self {
        Self::Tls(stream)
    }
}

/// What `$do` says, with the one that it is.
macro_rules! with {
    ($transport:expr, $stream:ident => $do:expr) => {
        match $transport {
            Transport::Plain($stream) => $do,
            #[cfg(feature = "_tls")]
            Transport::Tls($stream) => $do,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        with!(&mut *self, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        with!(&mut *self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with!(&mut *self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with!(&mut *self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        with!(self, stream => stream.is_write_vectored())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with!(&mut *self, stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }
}
