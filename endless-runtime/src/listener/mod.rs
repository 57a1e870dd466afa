//! Listeners: sockets that are bound, and the gate that says whether this process may accept from one now.

mod bind;
mod gate;
mod inherited;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

pub(crate) use bind::{bind, resolve};
pub(crate) use gate::Gate;
pub(crate) use inherited::{Inheritance, ListenerNote};

use crate::address::Endpoint;

/// After how much silence the kernel asks whether the client is still there: as Go's `endless`.
const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(180);

/// A bound socket that this process can accept from.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    local: Endpoint,
}

impl Listener {
    /// Takes a listening socket into the current tokio runtime.
    ///
    /// What is set on the listener is set on every connection that it accepts: no small write waits for the
    /// client's acknowledgement, and dead clients are found out.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = std::net::TcpListener::from(socket);
        socket.set_nonblocking(true)?;
        let options = SockRef::from(&socket);
        options.set_tcp_nodelay(true)?;
        options.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE))?;
        let local = Endpoint::Tcp(socket.local_addr()?);
        Ok(Self { socket: TcpListener::from_std(socket)?, local })
    }

    pub(crate) fn local(&self) -> &Endpoint {
        &self.local
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let (stream, _remote) = ready!(self.socket.poll_accept(cx))?;
        Poll::Ready(Ok(Stream { stream }))
    }

    /// Accepts what waits in the kernel's queue, past tokio's own idea of whether something does.
    fn accept_now(&self) -> io::Result<Stream> {
        let (socket, _remote) = SockRef::from(&self.socket).accept()?;
        socket.set_nonblocking(true)?;
        Ok(Stream { stream: TcpStream::from_std(socket.into())? })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// An accepted connection's socket.
#[derive(Debug)]
pub(crate) struct Stream {
    stream: TcpStream,
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
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
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}
