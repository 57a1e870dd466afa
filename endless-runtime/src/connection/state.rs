//! What is known of one connection from outside its task: idle or in flight, and whether it must leave.
//!
//! The counters are the connection's own, so a request costs no lock and shares no counter with others.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use http::StatusCode;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::pace::PAUSE;
use super::responses::{ByStatus, Responses};
use super::turns::Turns;
use crate::lock::lock;
use crate::moving::Heir;

/// One connection, from accept until its last byte; an upgraded one lives until the user drops it.
///
/// What is asked for with every request comes first, and close together: of a thousand busy connections, each line of
/// memory that a request touches has to be fetched anew.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct ConnectionState {
    /// That have begun. The connection's task alone counts them.
    requests: AtomicU64,
    /// Of the requests.
    ended: AtomicU64,
    /// Bodies of requests that are still being read, also after their response.
    reading: AtomicUsize,
    course: AtomicU8,
    /// The last response's end is still in a buffer of ours.
    unflushed: AtomicBool,
    /// Something of an answer waits to be written, whether a service has made it or hyper.
    writing: AtomicBool,
    /// Bytes have come that no request has begun with yet.
    in_head: AtomicBool,
    /// A body was given up before its end: its rest waits in the socket, or is still to come.
    left_unread: AtomicBool,
    /// The answer that is about to be written hands the connection over.
    upgrading: AtomicBool,
    /// It has become something that cannot go to another process.
    immovable: AtomicBool,
    /// It has idled, and hyper is to give it back.
    quiets_down: AtomicBool,
    /// Nothing that comes is read any more.
    deaf: AtomicBool,
    /// Hyper waits for the next request's head, and is kept from reading it: it may be another process's.
    asks_for_head: AtomicBool,
    /// Our side is closed, or is about to be.
    closing: AtomicBool,
    /// Some of an HTTP/2 answer has gone out since somebody asked.
    answers: AtomicBool,
    /// The client of HTTP/2 knows that the connection ends, and with which stream.
    parts: AtomicBool,
    responses: Responses,
    task: AtomicWaker,
    /// When the head began that is still on its way, for those who ask when a request began.
    head_began: Mutex<Option<Instant>>,
    /// The numbers of HTTP/2 requests without a whole response, where they are asked for.
    unanswered: OnceLock<Mutex<BTreeSet<u64>>>,
}

/// Where a connection goes when it is not in the middle of something.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Course {
    Stay,
    /// To the successor.
    Move,
    /// To its end.
    Leave,
}

/// What the next thing on a connection would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The first byte of a request, after so many.
    Request { after: u64 },
    /// The rest of a request's head.
    Head,
    /// The rest of a request's body; the response is written.
    Body,
    /// The rest of the response to this request.
    Response { request: u64 },
    /// The rest of one response among others of HTTP/2, the oldest.
    Stream { request: u64 },
}

impl ConnectionState {
    /// What HTTP/1 waits for.
    pub(crate) fn awaited(&self) -> Awaited {
        let requests = self.requests.load(Relaxed);
        if self.in_flight() > 0 || self.unflushed.load(Relaxed) {
            Awaited::Response { request: requests }
        } else if self.reading.load(Relaxed) > 0 {
            Awaited::Body
        } else if self.in_head.load(Relaxed) {
            Awaited::Head
        } else {
            Awaited::Request { after: requests }
        }
    }

    /// What HTTP/2 waits for; which response is the oldest is known from [`ConnectionState::note_streams`] on.
    pub(crate) fn awaited_of_streams(&self) -> Awaited {
        let unanswered = self.unanswered.get().and_then(|numbers| lock(numbers).first().copied());
        match unanswered {
            Some(request) => Awaited::Stream { request },
            None if self.has_nothing_in_flight() => Awaited::Request { after: self.requests.load(Relaxed) },
            None => Awaited::Body,
        }
    }

    /// From now on, knows which response is the oldest that is not whole.
    pub(crate) fn note_streams(&self) {
        self.unanswered.get_or_init(Mutex::default);
    }

    /// Bytes have come from the client.
    pub(crate) fn received(&self) {
        if self.in_flight() == 0 {
            self.in_head.store(true, Relaxed);
        }
    }

    /// The number of the request of HTTP/1 of which there is a part of the head.
    pub(crate) fn head(&self) -> Option<u64> {
        let is_head = self.awaited() == Awaited::Head && !self.is_upgrading();
        is_head.then(|| self.requests.load(Relaxed) + 1)
    }

    /// Whether the client has sent, or is sending, what nobody has read as part of a request.
    pub(crate) fn has_unread(&self) -> bool {
        self.in_head.load(Relaxed) || self.left_unread.load(Relaxed)
    }

    /// Some of an HTTP/2 answer has gone out.
    pub(crate) fn answers(&self) {
        self.answers.store(true, Relaxed);
    }

    /// Whether some of an answer has gone out since this was last asked.
    pub(crate) fn take_answers(&self) -> bool {
        self.answers.swap(false, Relaxed)
    }

    /// HTTP/2's last GOAWAY has gone out: the connection ends when its client has taken what it asked for.
    pub(crate) fn parts(&self) {
        self.parts.store(true, Relaxed);
    }

    pub(crate) fn is_parting(&self) -> bool {
        self.parts.load(Relaxed)
    }

    pub(crate) fn head_began(&self, at: Instant) {
        *lock(&self.head_began) = Some(at);
    }

    /// When the head began that has just come to its end: now, unless it was waited for.
    pub(crate) fn take_head_began(&self) -> Instant {
        lock(&self.head_began).take().unwrap_or_else(Instant::now)
    }

    /// Whether nothing is asked and nothing unanswered, by a service or by hyper itself: fresh, between requests,
    /// or within a head.
    pub(crate) fn is_idle(&self) -> bool {
        self.has_nothing_in_flight() && !self.unflushed.load(Relaxed) && !self.writing.load(Relaxed)
    }

    /// Whether no request is being read or answered; what is answered may not be flushed.
    pub(crate) fn has_nothing_in_flight(&self) -> bool {
        self.in_flight() == 0 && self.reading.load(Relaxed) == 0
    }

    /// How many requests have begun and not ended.
    fn in_flight(&self) -> u64 {
        // In this order: none has ended that had not begun.
        let ended = self.ended.load(Acquire);
        self.requests.load(Relaxed) - ended
    }

    pub(crate) fn body_begins(self: &Arc<Self>) -> Reading {
        self.reading.fetch_add(1, Relaxed);
        Reading { connection: Arc::clone(self), to_its_end: false }
    }

    pub(crate) fn request_begins(self: &Arc<Self>) -> InFlight {
        let number = self.requests.load(Relaxed) + 1;
        self.requests.store(number, Relaxed);
        self.in_head.store(false, Relaxed);
        // Hyper has found where the next request begins: there is nothing left of the last one's body. The
        // requests of HTTP/2, which never moves, are not one behind the other.
        if !self.immovable.load(Relaxed) {
            self.left_unread.store(false, Relaxed);
        }
        if let Some(unanswered) = self.unanswered.get() {
            lock(unanswered).insert(number);
        }
        InFlight { connection: Arc::clone(self), number }
    }

    /// A response begins.
    pub(crate) fn responds(&self, status: StatusCode) {
        self.responses.count(status);
    }

    pub(crate) fn flushed(&self) {
        for flag in [&self.unflushed, &self.writing] {
            if flag.load(Relaxed) {
                flag.store(false, Relaxed);
            }
        }
    }

    /// HTTP/1's connection is handed over after the answer that comes next, and whoever has it then reads what
    /// comes: it is no next head.
    pub(crate) fn upgrades(&self) {
        self.upgrading.store(true, Relaxed);
        self.cannot_move();
    }

    pub(crate) fn is_upgrading(&self) -> bool {
        self.upgrading.load(Relaxed)
    }

    /// Asks the connection to leave: finish what is in flight, take nothing new after the idle grace.
    pub(crate) fn leave(&self) {
        self.turn_to(Course::Leave);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.course.load(Relaxed) == Course::Leave as u8
    }

    /// Asks the connection to go to the successor when it is between two requests, and to leave if it cannot.
    pub(crate) fn move_on(&self) {
        self.turn_to(Course::Move);
        if !self.may_move() {
            self.leave();
        }
    }

    fn may_move(&self) -> bool {
        !self.immovable.load(SeqCst)
    }

    /// From now on, it leaves where others move.
    pub(crate) fn cannot_move(&self) {
        self.immovable.store(true, SeqCst);
        if self.course.load(SeqCst) == Course::Move as u8 {
            self.leave();
        }
    }

    /// Leaves instead of moving if somebody has given up a body before its end: as nobody knows whether hyper
    /// finds the next request behind it, the connection would stay for as long as its client asks.
    pub(crate) fn leave_if_stuck(&self) {
        if self.is_moving() && self.left_unread.load(Relaxed) {
            self.leave();
        }
    }

    /// One that cannot move is not, either, in the moment before it is told to leave instead.
    pub(crate) fn is_moving(&self) -> bool {
        self.course.load(SeqCst) == Course::Move as u8 && self.may_move()
    }

    /// Nothing less is asked for any more.
    fn turn_to(&self, course: Course) {
        self.course.fetch_max(course as u8, SeqCst);
        self.task.wake();
    }

    /// Whether this is a boundary at which another process can go on: every answer is with the kernel, every
    /// body was read to its end, nobody closes, and hyper wants nothing but the next head. To be asked after each
    /// poll.
    pub(crate) fn can_move_now(&self) -> bool {
        self.is_moving() && self.is_at_boundary()
    }

    fn is_at_boundary(&self) -> bool {
        self.is_idle()
            && self.asks_for_head.load(Relaxed)
            && !self.left_unread.load(Relaxed)
            && !self.closing.load(Relaxed)
    }

    /// Asks hyper for a connection that has idled: in the next poll it may not read.
    pub(crate) fn quiet_down(&self) {
        self.asks_for_head.store(false, Relaxed);
        self.quiets_down.store(true, Relaxed);
    }

    /// Whether hyper can give it back. To be asked after that poll; afterwards it may read.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiets_down.store(false, Relaxed);
        self.is_at_boundary() && !self.is_upgrading()
    }

    /// Whether hyper may not read simply because it wants to.
    pub(crate) fn reads_with_care(&self) -> bool {
        self.course.load(Relaxed) != Course::Stay as u8
            || self.quiets_down.load(Relaxed)
            || self.deaf.load(Relaxed)
    }

    /// Hyper wants to read: whether it may not, because what comes next is for another process to read.
    pub(crate) fn holds_back(&self) -> bool {
        let is_wanted = self.is_moving() || self.quiets_down.load(Relaxed);
        let holds_back = is_wanted && self.has_nothing_in_flight() && !self.left_unread.load(Relaxed);
        if holds_back {
            self.asks_for_head.store(true, Relaxed);
        }
        holds_back
    }

    /// Hyper wants to read while it waits for the service, and only to see whether the client is still there:
    /// requests that it found would be its own to answer, and keep the connection here as long as more come.
    pub(crate) fn looks_for_end(&self) -> bool {
        self.is_moving()
            && self.in_flight() > 0
            && self.reading.load(Relaxed) == 0
            && !self.left_unread.load(Relaxed)
    }

    /// Hyper has something to write.
    pub(crate) fn writes(&self) {
        self.writing.store(true, Relaxed);
    }

    /// What the client still says comes too late: hyper is to find that the client has closed.
    pub(crate) fn hears_no_more(&self) {
        self.deaf.store(true, Relaxed);
    }

    pub(crate) fn is_deaf(&self) -> bool {
        self.deaf.load(Relaxed)
    }

    /// Hyper closes.
    pub(crate) fn closes(&self) {
        self.closing.store(true, Relaxed);
    }

    /// Ready when the connection is asked to leave. For the connection's task alone: it remembers one waker, which is
    /// also woken when a leaving connection may have become idle in another task.
    pub(crate) fn poll_leaving(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.task.register(cx.waker());
        // Looked at afterwards, because `leave` may have come before the registration.
        if self.is_leaving() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The same for who asks with every request: the task that is remembered is `again` the one that asks. Nobody
    /// takes it before the connection is to go somewhere.
    pub(crate) fn poll_leaving_again(&self, again: bool, cx: &mut Context<'_>) -> Poll<()> {
        match again && self.course.load(Relaxed) == Course::Stay as u8 {
            true => Poll::Pending,
            false => self.poll_leaving(cx),
        }
    }

    /// Something has ended, perhaps in another task.
    fn has_less_in_flight(&self) {
        if self.course.load(Relaxed) != Course::Stay as u8 {
            self.task.wake();
        }
    }
}

/// Held from a request's head to the last byte of its response's body, or to the moment either is dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    connection: Arc<ConnectionState>,
    number: u64,
}

impl InFlight {
    pub(crate) fn connection(&self) -> &ConnectionState {
        &self.connection
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(unanswered) = self.connection.unanswered.get() {
            lock(unanswered).remove(&self.number);
        }
        self.connection.unflushed.store(true, Relaxed);
        self.connection.ended.fetch_add(1, Release);
        self.connection.has_less_in_flight();
    }
}

/// Held by the body of a request until it is read to its end or dropped.
#[derive(Debug)]
pub(crate) struct Reading {
    connection: Arc<ConnectionState>,
    to_its_end: bool,
}

impl Reading {
    /// The body was read to its end.
    pub(crate) fn end(mut self) {
        self.to_its_end = true;
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if !self.to_its_end {
            self.connection.left_unread.store(true, Relaxed);
        }
        self.connection.reading.fetch_sub(1, Relaxed);
        self.connection.has_less_in_flight();
    }
}

/// The connections of one server, and the acceptor that may add to them.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    table: Mutex<Table>,
    occupancy: Arc<Occupancy>,
    /// Told whenever one is gone.
    parted: Notify,
}

/// What all servers' connections tell, to one listener each, and what they share.
#[derive(Debug)]
pub(crate) struct Occupancy {
    /// Told whenever a server has lost its last connection or its acceptor.
    pub(crate) emptied: Notify,
    /// Told whenever a server has a first connection.
    pub(crate) begun: Notify,
    turns: Arc<Turns>,
    lingering: Arc<Turns>,
}

impl Default for Occupancy {
    fn default() -> Self {
        Self {
            emptied: Notify::default(),
            begun: Notify::default(),
            turns: Arc::default(),
            lingering: Arc::new(Turns::after_pauses(PAUSE)),
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    live: HashMap<u64, Arc<ConnectionState>>,
    next: u64,
    accepting: bool,
    leaving: bool,
    /// Who takes over those that can move.
    heir: Option<Heir>,
    finished: Totals,
}

/// What a server's connections add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) requests: u64,
    pub(crate) responses: ByStatus,
    /// Taken over from a predecessor or by a successor.
    pub(crate) moved: u64,
    /// Ended by the hammer.
    pub(crate) hammered: usize,
}

impl Connections {
    pub(crate) fn new(occupancy: Arc<Occupancy>) -> Arc<Self> {
        Arc::new(Self { table: Mutex::default(), occupancy, parted: Notify::new() })
    }

    /// Counts the acceptor, without which a connection could still come after the last one is gone.
    pub(crate) fn acceptor(self: &Arc<Self>) -> Acceptor {
        self.table().accepting = true;
        Acceptor { connections: Arc::clone(self) }
    }

    pub(crate) fn admit(self: &Arc<Self>) -> Registered {
        let state = Arc::new(ConnectionState::default());
        let mut table = self.table();
        let key = table.next;
        table.next += 1;
        if table.live.is_empty() {
            self.occupancy.begun.notify_one();
        }
        table.live.insert(key, Arc::clone(&state));
        if table.leaving {
            state.leave();
        } else if table.heir.is_some() {
            state.move_on();
        }
        Registered { key, state, connections: Arc::clone(self), has_moved: false }
    }

    /// Asks all connections to leave, those that are still to come too.
    pub(crate) fn leave(&self) {
        let mut table = self.table();
        table.leaving = true;
        table.live.values().for_each(|connection| connection.leave());
    }

    /// Asks all connections to move to `heir`, those that are still to come too, and to leave if they cannot;
    /// only those that idle and could move are returned, to be asked in turn.
    pub(crate) fn leave_to(&self, heir: Heir) -> Idlers {
        let mut table = self.table();
        table.heir = Some(heir);
        let (idle, others): (Vec<_>, Vec<_>) =
            table.live.values().partition(|connection| connection.is_idle() && connection.may_move());
        others.into_iter().for_each(|connection| connection.move_on());
        Idlers(idle.into_iter().cloned().collect())
    }

    /// Notes that the hammer ends those that are open.
    pub(crate) fn note_hammered(&self) {
        let mut table = self.table();
        table.finished.hammered = table.live.len();
    }

    /// Resolves when there are fewer than `max`. For the acceptor alone: nobody else adds any.
    pub(crate) async fn fewer_than(&self, max: usize) {
        loop {
            let parted = self.parted.notified();
            if self.table().live.len() < max {
                return;
            }
            parted.await;
        }
    }

    pub(crate) fn has_any(&self) -> bool {
        !self.table().live.is_empty()
    }

    /// Whether there is none and there will be none.
    pub(crate) fn is_empty(&self) -> bool {
        let table = self.table();
        table.live.is_empty() && !table.accepting
    }

    pub(crate) fn totals(&self) -> Totals {
        let table = self.table();
        let mut totals = Totals { connections: table.live.len(), ..table.finished.clone() };
        for connection in table.live.values() {
            totals.in_flight += connection.in_flight() as usize;
            totals.requests += connection.requests.load(Relaxed);
            connection.responses.add_to(&mut totals.responses);
        }
        totals
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

/// Idle connections that are yet to be asked to move. Until it is asked, one is served as ever; from then on
/// its client's next request waits for the successor.
#[derive(Debug, Default)]
pub(crate) struct Idlers(Vec<Arc<ConnectionState>>);

impl Idlers {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks the next `count`, or all that are left; returns how many.
    pub(crate) fn ask(&mut self, count: usize) -> usize {
        let next = self.0.drain(self.0.len().saturating_sub(count)..);
        next.map(|connection| connection.move_on()).count()
    }

    pub(crate) fn append(&mut self, Self(mut others): Self) {
        self.0.append(&mut others);
    }
}

/// Held while a server may accept.
#[derive(Debug)]
pub(crate) struct Acceptor {
    connections: Arc<Connections>,
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.connections.table().accepting = false;
        self.connections.occupancy.emptied.notify_one();
    }
}

/// Held by the I/O of a connection, and so for as long as anybody can read from or write to it.
#[derive(Debug)]
pub(crate) struct Registered {
    key: u64,
    state: Arc<ConnectionState>,
    connections: Arc<Connections>,
    has_moved: bool,
}

impl Registered {
    pub(crate) fn state(&self) -> &Arc<ConnectionState> {
        &self.state
    }

    pub(super) fn turns(&self) -> &Arc<Turns> {
        &self.connections.occupancy.turns
    }

    /// Of those that throw away what still comes.
    pub(super) fn lingering(&self) -> &Arc<Turns> {
        &self.connections.occupancy.lingering
    }

    /// Who takes the connection over, if anybody does.
    pub(crate) fn heir(&self) -> Option<Heir> {
        self.connections.table().heir.clone()
    }

    /// It came from another process.
    pub(crate) fn note_arrival(&self) {
        self.connections.table().finished.moved += 1;
    }

    /// It is another process's.
    pub(crate) fn has_moved(mut self) {
        self.has_moved = true;
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut table = self.connections.table();
        table.live.remove(&self.key);
        table.finished.requests += self.state.requests.load(Relaxed);
        self.state.responses.add_to(&mut table.finished.responses);
        table.finished.moved += u64::from(self.has_moved);
        self.connections.parted.notify_one();
        if table.live.is_empty() {
            self.connections.occupancy.emptied.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[test]
    fn a_connection_is_idle_only_when_its_response_is_flushed() {
        let state = Arc::new(ConnectionState::default());
        assert!(state.is_idle());
        let request = state.request_begins();
        assert!(!state.is_idle());
        drop(request);
        assert!(!state.is_idle());
        state.flushed();
        assert!(state.is_idle());
    }

    #[tokio::test]
    async fn one_that_is_admitted_while_all_leave_leaves_too() {
        let connections = Connections::new(Arc::default());
        let before = connections.admit();
        connections.leave();
        let after = connections.admit();
        for connection in [before, after] {
            poll_fn(|cx| connection.state().poll_leaving(cx)).await;
        }
    }

    #[test]
    fn a_server_is_empty_once_acceptor_and_connections_are_gone() {
        let connections = Connections::new(Arc::default());
        let acceptor = connections.acceptor();
        let connection = connections.admit();
        drop(connection.state().request_begins());
        drop(acceptor);
        assert!(!connections.is_empty());
        drop(connection);
        assert!(connections.is_empty());
        assert_eq!(connections.totals(), Totals { requests: 1, ..Totals::default() });
    }
}
