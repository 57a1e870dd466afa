//! The builder and `serve`: the whole story of a server on one screen.

#[cfg(feature = "axum")]
use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
#[cfg(feature = "_tls")]
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use nix::libc;
use nix::unistd::getpid;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::address::{Address, IntoAddress};
use crate::config::ServerSettings;
use crate::connection::{self, Acceptor, Arrival, Handshakes, Past, Registered, Terms};
use crate::error::{Error, Result};
use crate::future::BoxFuture;
use crate::grammar::AddressText;
use crate::listener::{Bound, GivenListener as Listener, Stream};
use crate::log::event;
use crate::process::{Process, STOPS, Stage, stage};
use crate::servers::Entry;
use crate::service::HttpService;
use crate::signal::hook;
use crate::signal::{Hook, Phase, Signal, given};
#[cfg(feature = "_tls")]
use crate::tls::{Presented, Tls};

/// How long to wait after an accept that failed for want of something that only time brings back.
const OUT_OF_RESOURCES_PAUSE: Duration = Duration::from_millis(100);

/// Serves `service` on `address`: the same as [`Server::new`] and [`Server::serve`].
///
/// The server is registered by this call and bound when the returned future is first polled. The future ends
/// with the process's drain, together with those of all other servers.
pub fn serve(address: impl IntoAddress, service: impl HttpService) -> Serving {
    Server::new(address, service).serve()
}

/// Serves `service` on `address` over TLS, with a certificate and its private key from PEM files, as
/// [`Tls::from_pem_files`] takes them: the same as [`Server::tls`] with that.
///
/// The files are read when the server is bound, and one that is no good fails as an address that cannot be bound
/// does: a successor is not ready, and its predecessor serves on.
#[cfg(feature = "_tls")]
pub fn serve_tls(
    address: impl IntoAddress,
    cert: impl AsRef<Path>,
    key: impl AsRef<Path>,
    service: impl HttpService,
) -> Serving {
    let (cert, key) = (cert.as_ref().to_owned(), key.as_ref().to_owned());
    Server::new(address, service).tls_from(move || Tls::from_pem_files(cert, key)).serve()
}

/// A server to be: an address, a service, and how to serve it.
#[must_use = "a server does nothing until `serve` is called and awaited"]
pub struct Server<S> {
    address: Result<AddressText>,
    /// Bound already, by the user's own code.
    listener: Option<Bound>,
    service: S,
    hooks: Vec<(Signal, &'static hook::Registration)>,
    before_begin: Vec<BeforeBegin>,
    /// What the code says itself, by the name of the option.
    overrides: Vec<(&'static str, Override)>,
    /// Made when the server is bound.
    #[cfg(feature = "_tls")]
    tls: Option<MakeTls>,
}

type BeforeBegin = Box<dyn FnOnce(&Address) + Send>;
type Override = Box<dyn FnOnce(&mut ServerSettings) + Send>;
#[cfg(feature = "_tls")]
type MakeTls = Box<dyn FnOnce() -> Result<Tls> + Send>;

impl<S: HttpService> Server<S> {
    /// A server with the default settings.
    pub fn new(address: impl IntoAddress, service: S) -> Self {
        Self::at(address.into_address(), None, service)
    }

    /// A server on a listener that is bound already. A successor knows it by its address: there, the
    /// inherited one takes the place of the one that its code has bound. So its code must be able to bind it
    /// while the predecessor listens (port 0, `SO_REUSEPORT`); where it is not, leave it to [`Server::new`].
    pub fn from_listener(listener: impl Into<Listener>, service: S) -> Self {
        match listener.into().into_parts() {
            Ok((address, listener)) => Self::at(Ok(address), Some(listener), service),
            Err(error) => Self::at(Err(Error::bind("the listener", error)), None, service),
        }
    }

    fn at(address: Result<AddressText>, listener: Option<Bound>, service: S) -> Self {
        let (hooks, before_begin, overrides) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            address,
            listener,
            service,
            hooks,
            before_begin,
            overrides,
            #[cfg(feature = "_tls")]
            tls: None,
        }
    }

    /// Speaks TLS, and nothing else.
    #[cfg(feature = "_tls")]
    pub fn tls(self, tls: Tls) -> Self {
        self.tls_from(|| Ok(tls))
    }

    #[cfg(feature = "_tls")]
    fn tls_from(self, make: impl FnOnce() -> Result<Tls> + Send + 'static) -> Self {
        Self { tls: Some(Box::new(make)), ..self }
    }

    /// How long a TLS handshake may take, 10 seconds by default; `None` is no limit. Then the connection is closed.
    pub fn handshake_timeout(self, time: impl Into<Option<Duration>>) -> Self {
        let time = time.into();
        self.overrule("handshake_timeout", move |settings| settings.limits.handshake_timeout = time)
    }

    /// How long a whole request may take to arrive, from the first byte of its head; `None`, the default, is
    /// no limit. A late body ends in an error of kind [`TimedOut`](io::ErrorKind::TimedOut), and where the
    /// service then fails, or answers with an error of its own, the client is told 408.
    pub fn read_timeout(self, time: impl Into<Option<Duration>>) -> Self {
        let time = time.into();
        self.overrule("read_timeout", move |settings| settings.limits.read_timeout = time)
    }

    /// How long a whole response may take to be made and written, from the end of the request's head;
    /// `None`, the default, is no limit. Then the connection is closed; of HTTP/2, the stream is reset, and
    /// the connection closed only if its client takes nothing of it.
    pub fn write_timeout(self, time: impl Into<Option<Duration>>) -> Self {
        let time = time.into();
        self.overrule("write_timeout", move |settings| settings.limits.write_timeout = time)
    }

    /// How long a request's head may take to arrive, from its first byte, 30 seconds by default; `None` is no
    /// limit. A late one is answered with 408, and the connection closed.
    pub fn header_timeout(self, time: impl Into<Option<Duration>>) -> Self {
        let time = time.into();
        self.overrule("header_timeout", move |settings| settings.limits.header_timeout = time)
    }

    /// How long a connection may idle, before its first request or between two, 120 seconds by default;
    /// `None` is no limit. Then it is closed.
    pub fn idle_timeout(self, time: impl Into<Option<Duration>>) -> Self {
        let time = time.into();
        self.overrule("idle_timeout", move |settings| settings.limits.idle_timeout = time)
    }

    /// How many bytes a request's head may have, 1 MiB by default. A longer one is answered with 431, and the
    /// connection closed. For HTTP/2 it is the limit of the decoded header list (RFC 9113, section 6.5.2).
    pub fn max_header_bytes(self, bytes: usize) -> Self {
        self.overrule("max_header_bytes", move |settings| settings.limits.max_header_bytes = bytes)
    }

    /// How many connections may wait in the kernel's queue to be accepted, 4096 by default; the kernel
    /// has a limit of its own (`net.core.somaxconn`).
    pub fn backlog(self, connections: u32) -> Self {
        self.overrule("backlog", move |settings| settings.backlog = connections)
    }

    /// How many connections there may be at a time; more wait in the kernel's queue. `None`, the default, is
    /// no limit.
    pub fn max_connections(self, connections: impl Into<Option<usize>>) -> Self {
        let connections = connections.into();
        self.overrule("max_connections", move |settings| settings.max_connections = connections)
    }

    /// Whether each request carries [`ConnectInfo`](crate::ConnectInfo) in its extensions.
    pub fn connect_info(self, on: bool) -> Self {
        self.overrule("connect_info", move |settings| settings.connect_info = on)
    }

    /// Runs `hook` before or after what `signal` does to the process, as `#[endless::hook]` would.
    pub fn hook<Shape>(mut self, phase: Phase, signal: Signal, hook: impl Hook<Shape>) -> Self {
        self.hooks.push((signal, given::register(phase, signal, hook)));
        self
    }

    /// Calls `hook` with the bound address before this server accepts.
    pub fn before_begin(mut self, hook: impl FnOnce(&Address) + Send + 'static) -> Self {
        self.before_begin.push(Box::new(hook));
        self
    }

    /// What the code of a server says wins over the attribute and the environment.
    fn overrule(
        mut self,
        name: &'static str,
        with: impl FnOnce(&mut ServerSettings) + Send + 'static,
    ) -> Self {
        self.overrides.push((name, Box::new(with)));
        self
    }

    /// Registers the server. It is bound when the returned future is first polled.
    pub fn serve(self) -> Serving {
        let Self { address, listener, service, hooks, before_begin, overrides, .. } = self;
        #[cfg(feature = "_tls")]
        let tls = self.tls;
        match address.and_then(Registration::new) {
            Ok(registration) => {
                let Registration { process, ref entry } = registration;
                hooks.into_iter().for_each(|(signal, hook)| process.give_hook(signal, hook));
                let settings = settings(process, entry, overrides);
                let opening = Opening {
                    listener,
                    service,
                    settings,
                    before_begin,
                    #[cfg(feature = "_tls")]
                    tls,
                };
                let future = Box::pin(run(process, Arc::clone(entry), opening));
                Serving { future, registration: Some(registration) }
            }
            // One that comes too late ends with the others.
            Err(error) if error.is_draining() => Serving::without_server(async {
                finished().await;
                Ok(())
            }),
            Err(error) => {
                if let Some(process) = Process::current() {
                    process.servers.failed();
                }
                Serving::without_server(async { Err(error) })
            }
        }
    }
}

/// What a registered server needs to open.
struct Opening<S> {
    listener: Option<Bound>,
    service: S,
    settings: ServerSettings,
    before_begin: Vec<BeforeBegin>,
    #[cfg(feature = "_tls")]
    tls: Option<MakeTls>,
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

impl Serving {
    fn without_server(future: impl Future<Output = Result<()>> + Send + 'static) -> Self {
        Self { future: Box::pin(future), registration: None }
    }
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
    opening: Opening<S>,
) -> Result<()> {
    process.hooks.run_on(Handle::current());
    tokio::select! {
        biased;
        // Also if it was never bound, because the process was stopped while it started.
        () = finished() => Ok(()),
        Err(error) = opening.open(process, &entry) => {
            process.servers.failed();
            process.report_failure(error.to_string()).await;
            Err(error)
        }
    }
}

impl<S: HttpService> Opening<S> {
    /// Binds and begins to accept; the accepting goes on by itself.
    async fn open(mut self, process: &'static Process, entry: &Arc<Entry>) -> Result<()> {
        let handshakes = self.handshakes(entry)?;
        let Self { listener, service, settings, before_begin, .. } = self;
        let service = prepared(service);
        let address = process.servers.listen(entry, listener, settings.backlog).await?;
        let (pid, generation) = (getpid(), process.generation());
        match process.supervisor() {
            Some(supervisor) => event!(
                INFO,
                "listening",
                address = address,
                pid = pid,
                generation = generation,
                supervisor = supervisor
            ),
            None => event!(INFO, "listening", address = address, pid = pid, generation = generation),
        }
        process.hooks.before_begin(&address).await;
        before_begin.into_iter().for_each(|hook| hook(&address));
        let (terms, acceptor) = (Arc::new(terms(process, &settings)), entry.connections.acceptor());
        if let Some(service) = cloned(&service, entry) {
            // What has moved here has begun without TLS.
            let moved = Offer { service, terms: Arc::clone(&terms), handshakes: None };
            tokio::spawn(take_over(Arc::clone(entry), entry.take_arrivals(), moved));
        }
        let offer = Offer { service, terms, handshakes };
        tokio::spawn(accept(Arc::clone(entry), acceptor, offer, settings.max_connections));
        process.servers.bound(entry, address);
        Ok(())
    }

    /// Reads the certificates before anything is bound.
    #[cfg(feature = "_tls")]
    fn handshakes(&mut self, entry: &Entry) -> Result<Option<Arc<Handshakes>>> {
        let tls = self.tls.take().map(|make| make()).transpose()?;
        Ok(tls.map(|tls| {
            tls.is_served();
            let time = self.settings.limits.handshake_timeout;
            let address = entry.requested().to_owned();
            let presented = Presented::new(tls, address.clone(), entry.occurrence());
            Arc::new(Handshakes::new(presented, time, address))
        }))
    }

    #[cfg(not(feature = "_tls"))]
    fn handshakes(&mut self, _entry: &Entry) -> Result<Option<Arc<Handshakes>>> {
        Ok(None)
    }
}

/// The service as it serves fastest: a router of axum would make each handler's service anew for each request, until
/// it is given its state, as `axum::serve` gives it.
#[cfg(feature = "axum")]
fn prepared<S: HttpService>(mut service: S) -> S {
    if let Some(router) = (&mut service as &mut dyn Any).downcast_mut::<axum::Router>() {
        *router = std::mem::take(router).with_state(());
    }
    service
}

#[cfg(not(feature = "axum"))]
fn prepared<S: HttpService>(service: S) -> S {
    service
}

/// What each connection of a server is served with.
struct Offer<S> {
    service: S,
    terms: Arc<Terms>,
    /// Where TLS is spoken.
    handshakes: Option<Arc<Handshakes>>,
}

/// Resolves when the process has drained.
pub(crate) async fn finished() {
    let mut stage = stage();
    stage.wait_for(|stage| *stage == Stage::Finished).await.expect("the stage is never dropped");
}

/// Accepts until the listener is let go. Whatever fails is logged and tried again: a server that gives up
/// accepting is a server that is down.
async fn accept<S: HttpService>(
    entry: Arc<Entry>,
    acceptor: Acceptor,
    offer: Offer<S>,
    max_connections: Option<usize>,
) {
    let mut trouble = Trouble::default();
    while let Some(accepted) = next_connection(&entry, max_connections).await {
        match accepted {
            Ok((stream, registered)) => {
                let is_the_last = stream.is_of_the_reserve();
                begin(&entry, Arrival { stream, registered, past: Past::none() }, &offer);
                if is_the_last {
                    trouble.begins(&entry, NO_DESCRIPTORS);
                    descriptors_are_free(&entry).await;
                    trouble.ends();
                }
                tokio::task::coop::consume_budget().await;
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                trouble.begins(&entry, error);
                tokio::time::sleep(OUT_OF_RESOURCES_PAUSE).await;
                trouble.ends();
            }
        }
    }
    drop(acceptor);
}

/// Serves what comes from another process, as long as something may.
async fn take_over<S: HttpService>(
    entry: Arc<Entry>,
    mut arrivals: mpsc::UnboundedReceiver<Arrival>,
    offer: Offer<S>,
) {
    while let Some(arrival) = arrivals.recv().await {
        begin(&entry, arrival, &offer);
    }
}

fn begin<S: HttpService>(entry: &Entry, arrival: Arrival, offer: &Offer<S>) {
    if let Some(service) = cloned(&offer.service, entry) {
        connection::serve(arrival, service, Arc::clone(&offer.terms), offer.handshakes.clone());
    }
}

/// Whatever the user's code does, the next connection is served.
fn cloned<S: Clone>(service: &S, entry: &Entry) -> Option<S> {
    let clone = catch_unwind(AssertUnwindSafe(|| service.clone()));
    if clone.is_err() {
        event!(ERROR, "the service panicked", address = entry.requested());
    }
    clone.ok()
}

/// Said when a connection has taken one of the descriptors that are reserved.
const NO_DESCRIPTORS: &str = "too many open files: what is left is for a restart and the service";

/// After so much time without trouble, it is worth a new line when it comes again.
const QUIET: Duration = Duration::from_secs(10);

/// That which keeps a server from accepting. It comes and goes with every connection that leaves, and is
/// logged when it comes for the first time.
#[derive(Default)]
struct Trouble {
    ended: Option<Instant>,
}

impl Trouble {
    fn begins(&self, entry: &Entry, error: impl fmt::Display) {
        if self.ended.is_none_or(|ended| ended.elapsed() > QUIET) {
            event!(ERROR, "cannot accept, trying again", address = entry.requested(), error = error);
        }
    }

    fn ends(&mut self) {
        self.ended = Some(Instant::now());
    }
}

/// Resolves when the next connection would leave enough descriptors to others, or there will be none.
async fn descriptors_are_free(entry: &Entry) {
    while entry.gate.listener().is_some_and(|listener| listener.meets_the_reserve()) {
        tokio::time::sleep(OUT_OF_RESOURCES_PAUSE).await;
    }
}

/// With all the connections that there may be, the next one waits in the kernel's queue.
async fn next_connection(entry: &Entry, max: Option<usize>) -> Option<io::Result<(Stream, Registered)>> {
    if let Some(max) = max {
        entry.connections.fewer_than(max).await;
    }
    poll_fn(|cx| entry.gate.poll_accept(cx)).await
}

fn settings(process: &Process, entry: &Entry, overrides: Vec<(&'static str, Override)>) -> ServerSettings {
    let mut settings = process.config.server.clone();
    for (name, overrule) in overrides {
        if process.config.has_said(name) {
            event!(INFO, "the server's code overrules an option", option = name, address = entry.requested());
        }
        overrule(&mut settings);
    }
    settings
}

fn terms(process: &'static Process, settings: &ServerSettings) -> Terms {
    let config = &process.config;
    Terms {
        idle_grace: config.idle_grace,
        readiness: config.readiness_path.as_deref().map(|path| (path, &STOPS)),
        limits: settings.limits,
        connect_info: settings.connect_info,
    }
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

#[cfg(all(test, feature = "axum"))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use axum::Router;
    use axum::extract::Request;
    use axum::middleware::map_request;
    use axum::routing::get;

    use super::*;
    use crate::body::Body;
    use crate::servers::Servers;

    /// Counts how often it is cloned.
    struct Counted(Arc<AtomicUsize>);

    impl Clone for Counted {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, Relaxed);
            Self(Arc::clone(&self.0))
        }
    }

    /// How often a request has a clone made of what is counted.
    async fn clones(router: Router, count: &AtomicUsize) -> usize {
        let mut router = prepared(router);
        let before = count.load(Relaxed);
        let response = HttpService::call(&mut router, http::Request::new(Body::empty())).await;
        assert_eq!(response.expect("a router never fails").status(), http::StatusCode::OK);
        count.load(Relaxed) - before
    }

    /// And so leaves the acceptor alone.
    #[test]
    fn a_panic_of_a_services_clone_costs_one_connection() {
        struct Fragile(Arc<AtomicUsize>);

        impl Clone for Fragile {
            fn clone(&self) -> Self {
                assert_ne!(self.0.fetch_add(1, Relaxed), 0, "the first clone fails");
                Self(Arc::clone(&self.0))
            }
        }

        let entry = Servers::new().register("127.0.0.1:0".into_address().expect("an address"));
        let service = Fragile(Arc::default());
        assert!(cloned(&service, &entry).is_none());
        assert!(cloned(&service, &entry).is_some(), "the next connection is served");
    }

    #[tokio::test]
    async fn a_router_of_axum_is_ready_before_its_first_request() {
        let counted = Counted(Arc::default());
        let count = Arc::clone(&counted.0);
        let layer = map_request(move |request: Request| {
            let _counted = &counted;
            async { request }
        });
        let router = Router::new().route("/", get(async || {})).layer(layer);
        let as_axum_serves_it = router.clone().with_state(());
        assert_eq!(clones(router, &count).await, clones(as_axum_serves_it, &count).await);
    }
}
