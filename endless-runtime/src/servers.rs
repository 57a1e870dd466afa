//! The servers of this process: who is registered, bound and accepting, and when they add up to ready.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use nix::errno::Errno;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::address::{Address, Endpoint};
use crate::connection::{Arrival, Connections, Idlers, Occupancy, Past, Totals};
use crate::error::{Error, Result};
use crate::grammar::AddressText;
use crate::listener::{self, Bound, Gate, Inheritance, Listener, ListenerNote, Stream, is_of_the_reserve};
use crate::lock::lock;
use crate::log::event;
use crate::moving::{Errand, Heir, Moving};

/// For how long after the last registration an inherited listener that nobody claims is waited for.
const UNCLAIMED_GRACE: Duration = Duration::from_secs(5);

/// For how long after a server that could not be started main may take to end because of it.
const FAILURE_GRACE: Duration = Duration::from_secs(5);

/// Every server of the process.
#[derive(Debug)]
pub(crate) struct Servers {
    table: Mutex<Table>,
    /// Told of every change that readiness depends on.
    changed: Notify,
    /// Told of every change that a supervisor has to know of.
    relisted: Notify,
    occupancy: Arc<Occupancy>,
    inheritance: watch::Sender<Option<Arc<Mutex<Inheritance>>>>,
}

#[derive(Debug)]
struct Table {
    entries: Vec<Arc<Entry>>,
    /// Unregistered, with connections still to finish.
    departed: Vec<Arc<Entry>>,
    accepting: bool,
    held: bool,
    /// Whether all servers there will be are registered, as in the declarative form.
    complete: bool,
    last_registration: Instant,
    last_failure: Option<Instant>,
    /// Whether the listeners were let go: a server that comes now is too late.
    gone: bool,
}

/// One registered server.
#[derive(Debug)]
pub(crate) struct Entry {
    text: AddressText,
    requested: String,
    /// How many registered before it with the same text.
    occurrence: usize,
    bound: OnceLock<Address>,
    pub(crate) gate: Gate,
    pub(crate) connections: Arc<Connections>,
    /// Where connections are served that come from a predecessor, while they are.
    arrivals: Mutex<Option<Arrivals>>,
}

/// The way of connections from another process to a server.
#[derive(Clone, Debug)]
struct Arrivals {
    runtime: Handle,
    queue: mpsc::UnboundedSender<Arrival>,
}

/// A connection that has moved here, and is still another process's.
#[derive(Debug)]
pub(crate) struct Newcomer {
    arrival: Arrival,
    queue: mpsc::UnboundedSender<Arrival>,
}

impl Newcomer {
    /// It is this process's.
    pub(crate) fn begin(self) {
        self.arrival.registered.note_arrival();
        // A server that is gone by now has closed what it had.
        let _closed = self.queue.send(self.arrival);
    }
}

/// What is handed over of one server.
pub(crate) struct Heirloom {
    note: ListenerNote,
    listener: Arc<Listener>,
    entry: Arc<Entry>,
}

impl Heirloom {
    /// What goes over the channel; this process keeps its own descriptor.
    pub(crate) fn duplicate(&self) -> io::Result<(ListenerNote, OwnedFd)> {
        Ok((self.note.clone(), self.listener.as_fd().try_clone_to_owned()?))
    }
}

impl Servers {
    pub(crate) fn new() -> Self {
        let table = Table {
            entries: Vec::new(),
            departed: Vec::new(),
            accepting: false,
            held: false,
            complete: false,
            last_registration: Instant::now(),
            last_failure: None,
            gone: false,
        };
        Self {
            table: Mutex::new(table),
            changed: Notify::new(),
            relisted: Notify::new(),
            occupancy: Arc::default(),
            inheritance: watch::Sender::new(None),
        }
    }

    pub(crate) fn register(&self, text: AddressText) -> Arc<Entry> {
        let requested = text.to_string();
        let mut table = self.table();
        let is_taken = |number| {
            table.entries.iter().any(|entry| entry.requested == requested && entry.occurrence == number)
        };
        let occurrence =
            (0..).find(|number| !is_taken(*number)).expect("there are more numbers than servers");
        let connections = Connections::new(Arc::clone(&self.occupancy));
        let gate = Gate::new(Arc::clone(&connections));
        let (bound, arrivals) = (OnceLock::new(), Mutex::default());
        let entry = Arc::new(Entry { text, requested, occurrence, bound, gate, connections, arrivals });
        if table.gone {
            entry.gate.last_call();
        }
        table.entries.push(Arc::clone(&entry));
        table.last_registration = Instant::now();
        drop(table);
        self.changed.notify_one();
        entry
    }

    /// Notes that a server could not be started. What is left may be all that main wants, or main may be
    /// about to return the error, and a process that is about to end must not become the one that serves.
    pub(crate) fn failed(&self) {
        self.table().last_failure = Some(Instant::now());
        self.changed.notify_one();
    }

    /// Forgets a server; what its connections have in flight is finished.
    pub(crate) fn unregister(&self, entry: &Arc<Entry>) {
        entry.gate.last_call();
        entry.connections.leave();
        entry.take_no_more();
        let mut table = self.table();
        table.entries.retain(|other| !Arc::ptr_eq(other, entry));
        table.departed.retain(|other| !other.connections.is_empty());
        table.departed.push(Arc::clone(entry));
        drop(table);
        self.changed.notify_one();
        self.relist();
    }

    /// Gives `entry` its inherited listener, or the `given` one, or a new one.
    ///
    /// # Errors
    ///
    /// If the address cannot be resolved or bound, or a process that is still starting has no descriptor left
    /// for a connection to it.
    pub(crate) async fn listen(&self, entry: &Entry, given: Option<Bound>, backlog: u32) -> Result<Address> {
        let failed = |error| Error::bind(&entry.requested, error);
        let bound = match self.claim_configured(entry).await {
            Some(bound) => bound,
            None => {
                self.refuse_if_not_passed(entry).map_err(failed)?;
                let candidates = listener::resolve(&entry.text).await.map_err(failed)?;
                match self.claim_bound(&entry.text, &candidates).or(given) {
                    Some(bound) => bound,
                    None => listener::bind(&entry.text, &candidates, backlog)
                        .map_err(|error| self.explain(entry, &candidates, error))?,
                }
            }
        };
        let listener = Listener::new(bound, backlog).map_err(failed)?;
        if !self.table().accepting && listener.meets_the_reserve() {
            // Ready without being able to serve, it would leave every client of its predecessor waiting.
            return Err(failed(Errno::EMFILE.into()));
        }
        let address = Address::new(entry.requested.clone(), listener.local().clone());
        entry.gate.install(listener);
        Ok(address)
    }

    /// Lets `entry` count as bound, and accept if the others do.
    pub(crate) fn bound(&self, entry: &Entry, address: Address) {
        let table = self.table();
        entry.bound.set(address).expect("a server is bound once");
        if table.accepting {
            entry.gate.open();
        }
        drop(table);
        self.changed.notify_one();
        self.relist();
    }

    async fn claim_configured(&self, entry: &Entry) -> Option<Bound> {
        let inheritance = self.arrived().await;
        lock(&inheritance).claim_configured(&entry.requested, entry.occurrence)
    }

    fn claim_bound(&self, text: &AddressText, candidates: &[SocketAddr]) -> Option<Bound> {
        let inheritance = self.inheritance.borrow().clone()?;
        let table = self.table();
        lock(&inheritance).claim_bound(text, candidates, |note| {
            table.entries.iter().any(|entry| entry.is_configured_as(note))
        })
    }

    /// What systemd has not bound cannot be bound here.
    fn refuse_if_not_passed(&self, entry: &Entry) -> io::Result<()> {
        let AddressText::Systemd(_) = entry.text else { return Ok(()) };
        let inheritance = self.inheritance.borrow().clone().unwrap_or_default();
        let inheritance = lock(&inheritance);
        Err(listener::systemd::missing(inheritance.notes()))
    }

    /// An address in use may be one that the predecessor has under another name, which cannot change
    /// hands without a moment in which nobody listens.
    fn explain(&self, entry: &Entry, candidates: &[SocketAddr], error: io::Error) -> Error {
        let inheritance = self.inheritance.borrow().clone();
        let overlapped = inheritance.and_then(|inheritance| {
            let overlaps =
                |note: &&ListenerNote| candidates.iter().any(|candidate| note.overlaps(*candidate));
            lock(&inheritance).notes().find(overlaps).map(|note| note.local.clone())
        });
        match overlapped {
            Some(local) if error.kind() == io::ErrorKind::AddrInUse => Error::bind(
                format_args!("{} (it overlaps {local}, which the predecessor listens on)", entry.requested),
                error,
            ),
            _ => Error::bind(&entry.requested, error),
        }
    }

    /// What came from the predecessor: nothing, for the first generation. Servers wait for it to bind.
    pub(crate) fn inherit(&self, listeners: Vec<(ListenerNote, OwnedFd)>) {
        self.inheritance.send_replace(Some(Arc::new(Mutex::new(Inheritance::new(listeners)))));
        self.changed.notify_one();
    }

    async fn arrived(&self) -> Arc<Mutex<Inheritance>> {
        let mut arrival = self.inheritance.subscribe();
        let arrived = arrival.wait_for(Option::is_some).await.expect("the sender lives as long as self");
        Arc::clone(arrived.as_ref().expect("waited for"))
    }

    /// Resolves when this process is ready: at least one server registered, all of them bound, nothing held,
    /// and every inherited listener claimed or given up. Returns which were claimed and what was given up.
    pub(crate) async fn ready(&self) -> (Vec<usize>, Vec<ListenerNote>) {
        let inheritance = self.arrived().await;
        let mut said = false;
        loop {
            let changed = self.changed.notified();
            match self.readiness(&inheritance) {
                Readiness::Ready => break,
                Readiness::NotYet => changed.await,
                Readiness::At(instant) => {
                    if !std::mem::replace(&mut said, true) {
                        say_what_is_waited_for(&lock(&inheritance));
                    }
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(instant) => {}
                    }
                }
            }
        }
        let inheritance = lock(&inheritance);
        (inheritance.claimed(), inheritance.unclaimed().cloned().collect())
    }

    fn readiness(&self, inheritance: &Mutex<Inheritance>) -> Readiness {
        let table = self.table();
        let all_bound =
            !table.entries.is_empty() && table.entries.iter().all(|entry| entry.bound.get().is_some());
        if !all_bound || table.held {
            return Readiness::NotYet;
        }
        let all_claimed = lock(inheritance).unclaimed().next().is_none();
        let unclaimed = (!table.complete && !all_claimed).then(|| table.last_registration + UNCLAIMED_GRACE);
        let failed = table.last_failure.map(|failure| failure + FAILURE_GRACE);
        match unclaimed.max(failed) {
            Some(instant) if Instant::now() < instant => Readiness::At(instant),
            _ => Readiness::Ready,
        }
    }

    pub(crate) fn hold_ready(&self, held: bool) {
        self.table().held = held;
        self.changed.notify_one();
    }

    /// Says that no more servers will be registered, so that nobody is waited for.
    pub(crate) fn complete(&self) {
        self.table().complete = true;
        self.changed.notify_one();
    }

    /// Begins to accept, and closes what nobody claimed.
    pub(crate) fn open(&self) {
        let mut table = self.table();
        table.accepting = true;
        table.entries.iter().filter(|entry| entry.bound.get().is_some()).for_each(|entry| entry.gate.open());
        if let Some(inheritance) = self.inheritance.borrow().as_ref() {
            lock(inheritance).give_up_unclaimed();
        }
    }

    /// When this returns, nothing is accepted until [`Servers::open`].
    pub(crate) fn pause(&self) {
        let mut table = self.table();
        table.accepting = false;
        table.entries.iter().for_each(|entry| entry.gate.pause());
    }

    /// What a successor gets.
    pub(crate) fn heirlooms(&self) -> Vec<Heirloom> {
        let table = self.table();
        table.entries.iter().filter_map(|entry| entry.heirloom()).collect()
    }

    /// Lets [`Servers::relisted`] resolve.
    pub(crate) fn relist(&self) {
        self.relisted.notify_one();
    }

    /// Resolves when listeners have come or gone since it last did. Cancel safe.
    pub(crate) async fn relisted(&self) {
        self.relisted.notified().await;
    }

    /// Lets all listeners go: those that a successor has `claimed` to it, the rest for good.
    pub(crate) fn let_go_to(&self, claimed: &[ListenerNote]) {
        let heirlooms = self.heirlooms();
        let is_claimed =
            |heirloom: &&Heirloom| claimed.iter().any(|note| heirloom.entry.is_configured_as(note));
        self.let_go(&heirlooms.iter().filter(is_claimed).collect::<Vec<_>>());
    }

    /// Lets all listeners go, as there is no successor. What waits for one of systemd's waits for the next start.
    pub(crate) fn let_go_for_good(&self) {
        let mut table = self.table();
        table.gone = true;
        for entry in &table.entries {
            match entry.text {
                AddressText::Systemd(_) => entry.gate.close(),
                _ => entry.gate.last_call(),
            }
        }
    }

    /// Lets all listeners go: those of `claimed` to the successor, the rest for good.
    pub(crate) fn let_go(&self, claimed: &[&Heirloom]) {
        let mut table = self.table();
        table.gone = true;
        for entry in &table.entries {
            match claimed.iter().any(|heirloom| Arc::ptr_eq(&heirloom.entry, entry)) {
                true => entry.gate.close(),
                false => entry.gate.last_call(),
            }
        }
    }

    /// Asks every connection to leave.
    pub(crate) fn leave(&self) {
        self.table().entries.iter().for_each(|entry| entry.connections.leave());
    }

    /// Asks every connection to move to the successor that `errands` lead to, and to leave if it cannot; only
    /// those that idle and could move are returned, to be asked in turn.
    pub(crate) fn leave_to(&self, errands: &mpsc::UnboundedSender<Errand>) -> Idlers {
        let mut idlers = Idlers::default();
        for entry in &self.table().entries {
            match entry.bound.get() {
                Some(address) => {
                    let listener = address.to_string().into();
                    let heir = Heir { listener, errands: errands.clone() };
                    idlers.append(entry.connections.leave_to(heir));
                }
                None => entry.connections.leave(),
            }
        }
        idlers
    }

    /// Takes a connection from another process, without reading from it. `None` if none of these servers has
    /// its listener, or if there are no descriptors left for it.
    pub(crate) fn take(&self, moving: Moving) -> Option<Newcomer> {
        let Moving { note, socket, unread } = moving;
        let entry = self.table().bound_to(&note.listener)?;
        let Arrivals { runtime, queue } = lock(&entry.arrivals).clone()?;
        let socket = Arc::into_inner(socket)?;
        if is_of_the_reserve(socket.as_fd()) {
            return None;
        }
        let path = match entry.bound.get()?.local() {
            Endpoint::Unix(path) => Some(path.clone()),
            Endpoint::Tcp(_) => None,
        };
        let _in_its_runtime = runtime.enter();
        let stream = Stream::of_socket(socket, note.remote.into(), path).ok()?;
        let since = Instant::now().checked_sub(note.awaited_for).unwrap_or_else(Instant::now);
        let past = Past { http1: note.http1, since, unread };
        Some(Newcomer { arrival: Arrival { stream, registered: entry.connections.admit(), past }, queue })
    }

    /// No connection comes from another process any more.
    pub(crate) fn take_no_more(&self) {
        self.table().everyone().for_each(|entry| entry.take_no_more());
    }

    /// How many connections have moved, from a predecessor or to a successor.
    pub(crate) fn moved(&self) -> u64 {
        self.table().everyone().map(|entry| entry.connections.totals().moved).sum()
    }

    /// How many connections are still open.
    pub(crate) fn connections(&self) -> usize {
        self.table().everyone().map(|entry| entry.connections.totals().connections).sum()
    }

    /// Notes that the hammer ends all connections that are open.
    pub(crate) fn note_hammered(&self) {
        self.table().everyone().for_each(|entry| entry.connections.note_hammered());
    }

    /// How many requests were begun since the start of the process.
    pub(crate) fn requests(&self) -> u64 {
        self.table().everyone().map(|entry| entry.connections.totals().requests).sum()
    }

    /// Resolves when no server has a connection or could get one.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.occupancy.emptied.notified();
            if self.table().everyone().all(|entry| entry.connections.is_empty()) {
                return;
            }
            emptied.await;
        }
    }

    /// Resolves when a server has a connection.
    pub(crate) async fn occupied(&self) {
        loop {
            let begun = self.occupancy.begun.notified();
            if self.table().everyone().any(|entry| entry.connections.has_any()) {
                return;
            }
            begun.await;
        }
    }

    /// The bound servers, each with what its connections add up to.
    pub(crate) fn totals(&self) -> Vec<(Address, Totals)> {
        let table = self.table();
        let bound = table.entries.iter().filter_map(|entry| Some((entry.bound.get()?.clone(), entry)));
        bound.map(|(address, entry)| (address, entry.connections.totals())).collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

impl Table {
    fn everyone(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.iter().chain(&self.departed)
    }

    fn bound_to(&self, local: &str) -> Option<Arc<Entry>> {
        let is_bound_to =
            |entry: &&Arc<Entry>| entry.bound.get().is_some_and(|address| address.to_string() == local);
        self.entries.iter().find(is_bound_to).cloned()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    NotYet,
    /// Unless something changes before.
    At(Instant),
    Ready,
}

impl Entry {
    pub(crate) fn requested(&self) -> &str {
        &self.requested
    }

    #[cfg(feature = "_tls")]
    pub(crate) fn occurrence(&self) -> usize {
        self.occurrence
    }

    /// From now on, connections that move here are served by what `queue` leads to, on this runtime.
    pub(crate) fn take_arrivals(&self) -> mpsc::UnboundedReceiver<Arrival> {
        let (queue, arrivals) = mpsc::unbounded_channel();
        *lock(&self.arrivals) = Some(Arrivals { runtime: Handle::current(), queue });
        arrivals
    }

    fn take_no_more(&self) {
        lock(&self.arrivals).take();
    }

    fn is_configured_as(&self, note: &ListenerNote) -> bool {
        self.requested == note.requested && self.occurrence == note.occurrence
    }

    fn heirloom(self: &Arc<Self>) -> Option<Heirloom> {
        let (address, listener) = (self.bound.get()?, self.gate.listener()?);
        let note = ListenerNote {
            requested: self.requested.clone(),
            occurrence: self.occurrence,
            local: address.to_string(),
            file: listener.file().cloned(),
        };
        Some(Heirloom { note, listener, entry: Arc::clone(self) })
    }
}

/// What keeps a process from being ready for seconds is said at once.
fn say_what_is_waited_for(inheritance: &Inheritance) {
    let unclaimed: Vec<&str> = inheritance.unclaimed().map(|note| note.local.as_str()).collect();
    event!(
        INFO,
        "waiting before this process is ready",
        at_most = format!("{UNCLAIMED_GRACE:?}"),
        unclaimed = unclaimed.join(","),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(address: &str) -> AddressText {
        address.parse().expect("an address")
    }

    #[tokio::test(start_paused = true)]
    async fn ready_needs_every_registered_server_bound() {
        let servers = Servers::new();
        servers.inherit(Vec::new());
        let inheritance = servers.arrived().await;
        assert_eq!(servers.readiness(&inheritance), Readiness::NotYet, "nobody is registered");
        let entry = servers.register(text("127.0.0.1:0"));
        assert_eq!(servers.readiness(&inheritance), Readiness::NotYet, "not bound");
        let address = servers.listen(&entry, None, 16).await.expect("bound");
        servers.bound(&entry, address);
        assert_eq!(servers.readiness(&inheritance), Readiness::Ready);
        servers.hold_ready(true);
        assert_eq!(servers.readiness(&inheritance), Readiness::NotYet, "held");
    }

    #[tokio::test(start_paused = true)]
    async fn an_unclaimed_listener_is_waited_for_and_then_given_up() {
        let servers = Servers::new();
        let note =
            ListenerNote { requested: "[::1]:1".into(), occurrence: 0, local: "[::1]:1".into(), file: None };
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a descriptor");
        servers.inherit(vec![(note.clone(), socket.into())]);
        let entry = servers.register(text("127.0.0.1:0"));
        let address = servers.listen(&entry, None, 16).await.expect("bound");
        servers.bound(&entry, address);
        let begin = Instant::now();
        let (claimed, given_up) = servers.ready().await;
        assert_eq!((claimed, given_up), (vec![], vec![note]));
        assert!(begin.elapsed() >= UNCLAIMED_GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_server_that_failed_main_has_time_to_end() {
        let servers = Servers::new();
        servers.inherit(Vec::new());
        servers.complete();
        let entry = servers.register(text("127.0.0.1:0"));
        let address = servers.listen(&entry, None, 16).await.expect("bound");
        servers.bound(&entry, address);
        servers.failed();
        let begin = Instant::now();
        servers.ready().await;
        assert!(begin.elapsed() >= FAILURE_GRACE);
    }

    #[tokio::test]
    async fn two_servers_of_one_text_are_told_apart() {
        let servers = Servers::new();
        let first = servers.register(text("127.0.0.1:0"));
        let second = servers.register(text("127.0.0.1:0"));
        assert_eq!((first.occurrence, second.occurrence), (0, 1));
    }
}
