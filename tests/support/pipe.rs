//! What a client's bytes go over: a socket, or TLS over one.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::secure::Secure;

#[derive(Debug)]
pub(crate) enum Pipe {
    Plain(TcpStream),
    /// Locked, because to look at it is to read it.
    Tls(Box<Mutex<TlsStream<TcpStream>>>),
}

/// What a connection on which nothing is awaited looks like.
#[derive(Debug)]
pub(crate) enum Idle {
    Open,
    Closed,
    /// Reset, cut off, or bytes that nobody asked for.
    Broken(String),
}

impl Pipe {
    /// Connects, over TLS if it is said how.
    pub(crate) async fn open(address: SocketAddr, secure: Option<&Secure>) -> io::Result<Self> {
        Self::over(TcpStream::connect(address).await?, secure).await
    }

    /// The same with a socket that is connected.
    pub(crate) async fn over(stream: TcpStream, secure: Option<&Secure>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let Some(secure) = secure else { return Ok(Self::Plain(stream)) };
        let port = stream.local_addr()?.port();
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("in the handshake from port {port}: {error}"))
        };
        secure.over(stream).await.map(Self::from).map_err(named)
    }

    pub(crate) fn local(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(stream) => stream.local_addr(),
            Self::Tls(stream) => {
                stream.lock().unwrap_or_else(PoisonError::into_inner).get_ref().0.local_addr()
            }
        }
    }

    /// # Panics
    ///
    /// Over TLS.
    #[track_caller]
    pub(crate) fn plain(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(_) => panic!("nobody has looked at TLS in this way yet"),
        }
    }

    /// Looks at the connection now. It asks the kernel, not tokio, whose view of the socket is as old as its
    /// last poll: an end that had arrived before a request is written must be seen before it is written.
    pub(crate) fn idle(&self) -> Idle {
        match self {
            Self::Plain(stream) => idle(stream),
            Self::Tls(stream) => idle_over_tls(&mut stream.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

impl From<TlsStream<TcpStream>> for Pipe {
    fn from(stream: TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(Mutex::new(stream)))
    }
}

fn idle(stream: &TcpStream) -> Idle {
    let mut bytes = [0; 64];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
    match recv(stream.as_raw_fd(), &mut bytes, flags).map_err(io::Error::from) {
        Ok(0) => Idle::Closed,
        Ok(read) => Idle::Broken(format!("unasked bytes {:?}", String::from_utf8_lossy(&bytes[..read]))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Idle::Open,
        Err(error) => Idle::Broken(error.to_string()),
    }
}

/// What is between the two, as tickets, is read and is nothing; an end without close_notify is none in peace.
fn idle_over_tls(stream: &mut TlsStream<TcpStream>) -> Idle {
    let (stream, session) = stream.get_mut();
    let mut now = Now(stream.as_raw_fd());
    loop {
        match session.process_new_packets() {
            Err(error) => return Idle::Broken(error.to_string()),
            Ok(state) if state.plaintext_bytes_to_read() > 0 => {
                return Idle::Broken("unasked bytes".to_owned());
            }
            Ok(state) if state.peer_has_closed() => return Idle::Closed,
            Ok(_) => {}
        }
        match session.read_tls(&mut now) {
            Ok(0) => return Idle::Broken("cut off, without close_notify".to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Idle::Open,
            Err(error) => return Idle::Broken(error.to_string()),
        }
    }
}

/// Reads what has arrived.
struct Now(RawFd);

impl io::Read for Now {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0, bytes, MsgFlags::MSG_DONTWAIT)?)
    }
}

macro_rules! with {
    ($pipe:expr, $stream:ident => $do:expr) => {
        match $pipe {
            Pipe::Plain($stream) => $do,
            Pipe::Tls(stream) => {
                let $stream = stream.get_mut().unwrap_or_else(PoisonError::into_inner);
                $do
            }
        }
    };
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        with!(&mut *self, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        with!(&mut *self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with!(&mut *self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with!(&mut *self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
