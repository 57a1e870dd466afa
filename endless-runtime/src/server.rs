//! The builder and `serve`: the whole story of a server on one screen.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::libc;
use nix::unistd::getpid;
use tokio::runtime::Handle;

use crate::address::IntoAddress;
use crate::connection::{self, Acceptor};
use crate::error::{Error, Result};
use crate::grammar::AddressText;
use crate::log::event;
use crate::process::{Process, Stage, stage};
use crate::servers::Entry;
use crate::service::{BoxFuture, HttpService};

const DEFAULT_BACKLOG: u32 = 4096;

/// How long to wait after an accept that failed for want of something that only time brings back.
const OUT_OF_RESOURCES_PAUSE: Duration = Duration::from_millis(100);

/// Serves `service` on `address`: the same as [`Server::new`] and [`Server::serve`].
///
/// The server is registered by this call and bound when the returned future is first polled. The future ends with
/// the process's drain, together with those of all other servers.
pub fn serve(address: impl IntoAddress, service: impl HttpService) -> Serving {
    Server::new(address, service).serve()
}

/// A server to be: an address, a service, and how to serve it.
#[must_use = "a server does nothing until `serve` is called and awaited"]
#[derive(Clone)]
pub struct Server<S> {
    address: Result<AddressText, Arc<Error>>,
    service: S,
    backlog: u32,
}

impl<S: HttpService> Server<S> {
    /// A server with the default settings.
    pub fn new(address: impl IntoAddress, service: S) -> Self {
        Self { address: address.into_address().map_err(Arc::new), service, backlog: DEFAULT_BACKLOG }
    }

    /// How many connections may wait in the kernel's queue to be accepted, 4096 by default; the kernel
    /// has a limit of its own (`net.core.somaxconn`).
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Registers the server. It is bound when the returned future is first polled.
    pub fn serve(self) -> Serving {
        let Self { address, service, backlog } = self;
        match address.map_err(unshare).and_then(Registration::new) {
            Ok(registration) => {
                let entry = Arc::clone(&registration.entry);
                let future = Box::pin(run(registration.process, entry, service, backlog));
                Serving { future, registration: Some(registration) }
            }
            Err(error) => Serving { future: Box::pin(async { Err(error) }), registration: None },
        }
    }
}

impl<S> fmt::Debug for Server<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A registered server; a future that ends when the process has drained.
///
/// It fails if the address cannot be bound. Dropping it unregisters the server: its listener is closed, and
/// what its connections have in flight is finished.
#[must_use = "a server is bound when its future is polled"]
pub struct Serving {
    future: BoxFuture<'static, Result<()>>,
    registration: Option<Registration>,
}

impl Future for Serving {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let ended = self.future.as_mut().poll(cx);
        if ended.is_ready() {
            self.registration = None;
        }
        ended
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}

/// A server's place in the process, given up when it is dropped.
struct Registration {
    process: &'static Process,
    entry: Arc<Entry>,
}

impl Registration {
    fn new(address: AddressText) -> Result<Self> {
        let process = Process::get_or_start()?;
        if *stage().borrow() >= Stage::Draining {
            return Err(Error::draining(format_args!("serve {address}")));
        }
        Ok(Self { process, entry: process.servers.register(address) })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if *stage().borrow() < Stage::Draining {
            self.process.servers.unregister(&self.entry);
        }
    }
}

async fn run<S: HttpService>(
    process: &'static Process,
    entry: Arc<Entry>,
    service: S,
    backlog: u32,
) -> Result<()> {
    process.hooks.run_on(Handle::current());
    tokio::select! {
        biased;
        // Also if it was never bound, because the process was stopped while it started.
        () = finished() => Ok(()),
        Err(error) = begin(process, &entry, service, backlog) => {
            process.report_failure(error.to_string()).await;
            Err(error)
        }
    }
}

/// Binds and begins to accept; the accepting goes on by itself.
async fn begin<S: HttpService>(
    process: &'static Process,
    entry: &Arc<Entry>,
    service: S,
    backlog: u32,
) -> Result<()> {
    let address = process.servers.listen(entry, backlog).await?;
    event!(INFO, "listening", address = address, pid = getpid(), generation = process.generation());
    process.hooks.before_begin(&address).await;
    tokio::spawn(accept(Arc::clone(entry), entry.connections.acceptor(), service, process.config.idle_grace));
    process.servers.bound(entry, address);
    Ok(())
}

async fn finished() {
    let mut stage = stage();
    stage.wait_for(|stage| *stage == Stage::Finished).await.expect("the stage is never dropped");
}

/// Accepts until the listener is let go. Whatever fails is logged and tried again: a server that gives up
/// accepting is a server that is down.
async fn accept<S: HttpService>(entry: Arc<Entry>, acceptor: Acceptor, service: S, idle_grace: Duration) {
    let mut troubled = false;
    while let Some(accepted) = poll_fn(|cx| entry.gate.poll_accept(cx)).await {
        match accepted {
            Ok((stream, registered)) => {
                troubled = false;
                tokio::spawn(connection::serve(stream, registered, service.clone(), idle_grace));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut troubled, true) {
                    event!(ERROR, "cannot accept, trying again", address = entry.requested(), error = error);
                }
                tokio::time::sleep(OUT_OF_RESOURCES_PAUSE).await;
            }
        }
    }
    drop(acceptor);
}

/// Errors of the connection that was about to be accepted (accept(2), "Error handling"): the next one is
/// another matter.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EINTR
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::EPERM
        )
    )
}

fn unshare(error: Arc<Error>) -> Error {
    Arc::try_unwrap(error).unwrap_or_else(|shared| Error::configuration(shared.to_string()))
}
