//! Listeners: sockets that are bound, and the gate that says whether this process may accept from one now.

mod bind;
mod gate;
mod given;
mod inherited;
pub(crate) mod systemd;
mod unix;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::{SockAddr, SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

pub(crate) use bind::{bind, resolve};
pub(crate) use gate::Gate;
pub use given::Listener as GivenListener;
pub(crate) use inherited::{Inheritance, ListenerNote};
use unix::SocketFile;

use crate::address::Endpoint;
use crate::sys;

/// After how much silence the kernel asks whether the client is still there: as Go's `endless`.
const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(180);

/// How much of an answer the kernel takes before it can send it, in bytes. It would take megabytes, for each client that
/// reads nothing, and to free them keeps a thread for a millisecond when the connection ends.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT: u32 = 1 << 20;

/// A socket that listens, in no runtime yet.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: OwnedFd,
    /// For a unix socket.
    file: Option<SocketFile>,
}

/// A bound socket that this process can accept from.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    local: Endpoint,
    backlog: u32,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// Takes a listening socket into the current tokio runtime. `backlog` counts for an inherited one too.
    pub(crate) fn new(bound: Bound, backlog: u32) -> io::Result<Self> {
        let Bound { socket, file } = bound;
        SockRef::from(&socket).listen(queue_length(backlog))?;
        match file {
            Some(file) => Self::unix(socket, file, backlog),
            None => Self::tcp(socket, backlog),
        }
    }

    /// What is set on the listener is set on every connection that it accepts: no small write waits for the
    /// client's acknowledgement, dead clients are found out, and little is kept for those that do not read.
    fn tcp(socket: OwnedFd, backlog: u32) -> io::Result<Self> {
        let socket = std::net::TcpListener::from(socket);
        socket.set_nonblocking(true)?;
        let options = SockRef::from(&socket);
        options.set_tcp_nodelay(true)?;
        options.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE))?;
        #[cfg(any(target_os = "android", target_os = "linux"))]
        options.set_tcp_notsent_lowat(UNSENT)?;
        let local = Endpoint::Tcp(socket.local_addr()?);
        Ok(Self { socket: Socket::Tcp(TcpListener::from_std(socket)?), local, backlog })
    }

    fn unix(socket: OwnedFd, file: SocketFile, backlog: u32) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixListener::from(socket);
        socket.set_nonblocking(true)?;
        // The kernel still knows it by its temporary name.
        let local = Endpoint::Unix(file.path.clone());
        Ok(Self { socket: Socket::Unix(UnixListener::from_std(socket)?, file), local, backlog })
    }

    pub(crate) fn local(&self) -> &Endpoint {
        &self.local
    }

    /// Whether a connection that is accepted now would be one too many: what is left of descriptors is for
    /// others.
    pub(crate) fn meets_the_reserve(&self) -> bool {
        let next = self.as_fd().try_clone_to_owned();
        next.map_or(true, |next| is_of_the_reserve(next.as_fd()))
    }

    /// How many connections may wait in its queue.
    pub(crate) fn backlog(&self) -> u32 {
        self.backlog
    }

    /// The file of a unix socket.
    pub(crate) fn file(&self) -> Option<&SocketFile> {
        match &self.socket {
            Socket::Tcp(_) => None,
            Socket::Unix(_, file) => Some(file),
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        Poll::Ready(Ok(match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, remote) = ready!(socket.poll_accept(cx))?;
                self.stream(Either::Left(stream), Endpoint::Tcp(remote))
            }
            Socket::Unix(socket, _) => {
                let (stream, remote) = ready!(socket.poll_accept(cx))?;
                self.stream(Either::Right(local_stream(stream)), unix_endpoint(remote.as_pathname()))
            }
        }))
    }

    /// Accepts what waits in the kernel's queue, past tokio's own idea of whether something does.
    fn accept_now(&self) -> io::Result<Stream> {
        let (socket, remote) = SockRef::from(&self.as_fd()).accept()?;
        socket.set_nonblocking(true)?;
        let remote = endpoint(&remote);
        let socket = match &self.socket {
            Socket::Tcp(_) => Either::Left(TcpStream::from_std(socket.into())?),
            Socket::Unix(..) => Either::Right(local_stream(UnixStream::from_std(socket.into())?)),
        };
        Ok(self.stream(socket, remote))
    }

    fn stream(&self, socket: Either<TcpStream, LocalStream>, remote: Endpoint) -> Stream {
        Stream { socket, remote, path: self.file().map(|file| file.path.clone()) }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket, _) => socket.as_fd(),
        }
    }
}

fn queue_length(backlog: u32) -> i32 {
    i32::try_from(backlog).unwrap_or(i32::MAX)
}

fn endpoint(address: &SockAddr) -> Endpoint {
    match address.as_socket() {
        Some(address) => Endpoint::Tcp(address),
        None => unix_endpoint(address.as_pathname()),
    }
}

/// Clients rarely bind theirs to a path.
fn unix_endpoint(path: Option<&Path>) -> Endpoint {
    Endpoint::Unix(path.unwrap_or(Path::new("")).to_owned())
}

#[cfg(not(any(test, fuzzing)))]
type LocalStream = UnixStream;
#[cfg(not(any(test, fuzzing)))]
use std::convert::identity as local_stream;

#[cfg(any(test, fuzzing))]
use crate::fuzzing::{LocalStream, LocalStream::Unix as local_stream};

/// Descriptors that connections leave to the service, and to a restart, which needs a handful: somebody who
/// opens connections must not be able to hold off the new version that would deal with it.
const RESERVED_DESCRIPTORS: u64 = 16;

/// Whether a connection of this descriptor takes one of those.
pub(crate) fn is_of_the_reserve(descriptor: BorrowedFd<'_>) -> bool {
    sys::is_among_the_last(descriptor, RESERVED_DESCRIPTORS)
}

/// An accepted connection's socket.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Either<TcpStream, LocalStream>,
    remote: Endpoint,
    /// Of a unix socket's listener, which the kernel knows by its temporary name.
    path: Option<PathBuf>,
}

impl Stream {
    /// Whether it has taken a descriptor that was meant for others; the next one may not.
    pub(crate) fn is_of_the_reserve(&self) -> bool {
        is_of_the_reserve(match &self.socket {
            Either::Left(tcp) => tcp.as_fd(),
            Either::Right(unix) => unix.as_fd(),
        })
    }

    /// Puts a connection into the current tokio runtime; `path` is its listener's, for a unix socket.
    ///
    /// # Errors
    ///
    /// If the runtime cannot wait for it.
    pub(crate) fn of_socket(socket: OwnedFd, remote: Endpoint, path: Option<PathBuf>) -> io::Result<Self> {
        let socket = match &remote {
            Endpoint::Tcp(_) => Either::Left(TcpStream::from_std(socket.into())?),
            Endpoint::Unix(_) => Either::Right(local_stream(UnixStream::from_std(socket.into())?)),
        };
        Ok(Self { socket, remote, path })
    }

    /// Takes the connection out of its runtime.
    pub(crate) fn into_socket(self) -> io::Result<(OwnedFd, Endpoint, Option<PathBuf>)> {
        let socket = match self.socket {
            Either::Left(tcp) => tcp.into_std()?.into(),
            Either::Right(unix) => unix.into_std()?.into(),
        };
        Ok((socket, self.remote, self.path))
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn in_memory(stream: tokio::io::DuplexStream) -> Self {
        let socket = Either::Right(LocalStream::Memory(stream));
        Self { socket, remote: unix_endpoint(None), path: None }
    }

    pub(crate) fn remote(&self) -> &Endpoint {
        &self.remote
    }

    /// This end; unspecified if the connection is gone already.
    pub(crate) fn local(&self) -> Endpoint {
        let address = match &self.socket {
            Either::Left(tcp) => SockRef::from(tcp).local_addr(),
            Either::Right(_) => return unix_endpoint(self.path.as_deref()),
        };
        address.map_or_else(|_| unix_endpoint(None), |address| endpoint(&address))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt as _;
    use tokio::time::timeout;

    use super::*;

    /// The kernel's own limit would be 4 MiB (tcp_wmem).
    #[tokio::test]
    async fn little_is_kept_for_a_client_that_does_not_read() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        let listener = Listener::new(Bound { socket: socket.into(), file: None }, 1).expect("it listens");
        let _client = TcpStream::connect(address).await.expect("it listens");
        let mut stream = poll_fn(|cx| listener.poll_accept(cx)).await.expect("a client has come");
        let mut taken = 0;
        while let Ok(count) = timeout(std::time::Duration::from_millis(100), stream.write(&[0; 65536])).await
        {
            taken += count.expect("the client is there");
        }
        assert!(taken < 2 << 20, "{taken}");
    }
}
