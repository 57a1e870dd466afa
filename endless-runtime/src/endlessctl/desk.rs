//! The process's side: who asks is heard without being waited for, and nobody costs more than a bounded piece
//! of memory and a bounded piece of time.
//!
//! The socket is an abstract one, so it needs no folder that somebody would have to own, and is gone with its
//! process. Its name is the process's number and the moment at which that was started, so nobody can take it
//! before there is such a process. All that is waited for is behind one descriptor, an epoll(7): a supervisor
//! has it among those of its poll(2), a generation gives it to its runtime.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, getsockopt, send, sockopt::PeerCredentials};
use nix::unistd::{geteuid, getpid};

use super::words::{Answer, LONGEST_QUESTION, Request};
use super::{Ticket, Visit};
use crate::birth;
use crate::error::describe;
use crate::log::event;
use crate::signal::Sender;

/// How many may be there at a time. One that has not said what it wants makes room for who comes next.
const MOST: usize = 64;

/// How many are let in before something else is looked at.
const IN_A_ROW: usize = 16;

/// For how long one may say what it wants, or read what it is answered.
const PATIENCE: Duration = Duration::from_secs(5);

/// For how long nobody is let in when this process has no descriptor for it.
const PAUSE: Duration = Duration::from_secs(1);

/// What the listener is among those that are waited for.
const LISTENER: Ticket = 0;

/// Where this process is asked.
#[derive(Debug)]
pub(crate) struct Desk {
    listener: UnixListener,
    epoll: Epoll,
    /// By when they came.
    visitors: BTreeMap<Ticket, Visitor>,
    last: Ticket,
    /// Until when nobody is let in.
    closed_until: Option<Instant>,
}

#[derive(Debug)]
struct Visitor {
    socket: UnixStream,
    by: Sender,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Says what it wants.
    Asking { said: Vec<u8>, until: Instant },
    /// Is answered when there is an answer.
    Waiting,
    /// Has not taken all of its answer.
    Reading { rest: Vec<u8>, until: Instant },
}

impl Desk {
    /// Opens it; a process that cannot be asked does all else.
    pub(crate) fn open() -> Option<Self> {
        let opened = listen().and_then(|listener| Self::resume(listener.into(), Vec::new()));
        if let Err(error) = &opened {
            event!(WARN, "endlessctl cannot ask this process", pid = getpid(), error = describe(error));
        }
        opened.ok()
    }

    /// Goes on with a listener, and with those who have said a part of what they want.
    pub(crate) fn resume(listener: OwnedFd, asking: Vec<(OwnedFd, Vec<u8>)>) -> io::Result<Self> {
        let listener = UnixListener::from(listener);
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        let (visitors, last, closed_until) = (BTreeMap::new(), LISTENER, None);
        let mut desk = Self { listener, epoll, visitors, last, closed_until };
        let until = Instant::now() + PATIENCE;
        for (socket, said) in asking {
            desk.seat(socket.into(), Phase::Asking { said, until });
        }
        Ok(desk)
    }

    /// What goes on elsewhere, while [`Desk::is_quiet`].
    pub(crate) fn parts(&self) -> (BorrowedFd<'_>, Vec<(BorrowedFd<'_>, &[u8])>) {
        let asking = self.visitors.values().filter_map(|visitor| match &visitor.phase {
            Phase::Asking { said, .. } => Some((visitor.socket.as_fd(), &said[..])),
            Phase::Waiting | Phase::Reading { .. } => None,
        });
        (self.listener.as_fd(), asking.collect())
    }

    /// Whether nobody waits for anything.
    pub(crate) fn is_quiet(&self) -> bool {
        self.visitors.values().all(|visitor| matches!(visitor.phase, Phase::Asking { .. }))
    }

    /// When it is to be attended to although nothing has come.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.visitors.values().filter_map(Visitor::until).chain(self.closed_until).min()
    }

    /// Does what there is to do, without waiting; returns what is asked, and whether there may be more.
    pub(crate) fn attend(&mut self, now: Instant) -> (Vec<Visit>, bool) {
        self.visitors.retain(|_, visitor| visitor.until().is_none_or(|until| now < until));
        if self.closed_until.is_some_and(|until| until <= now) {
            self.set_open(true, now);
        }
        let mut events = [EpollEvent::empty(); IN_A_ROW];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        let mut visits = Vec::new();
        for event in &events[..count] {
            match event.data() {
                LISTENER => self.let_in(now),
                ticket => visits.extend(self.hear(ticket, now)),
            }
        }
        (visits, count > 0)
    }

    fn let_in(&mut self, now: Instant) {
        for _ in 0..IN_A_ROW {
            match self.listener.accept() {
                Ok((socket, _)) => self.receive(socket, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_of_one(&error) => {}
                Err(_) => return self.set_open(false, now),
            }
        }
    }

    /// Somebody has come.
    fn receive(&mut self, socket: UnixStream, now: Instant) {
        let Some(by) = caller(&socket).filter(|_| socket.set_nonblocking(true).is_ok()) else { return };
        if let Err(reason) = admit(by) {
            return refuse(&socket, reason);
        }
        if self.visitors.len() >= MOST && !self.make_room() {
            return refuse(&socket, format!("{MOST} wait already"));
        }
        self.seat(socket, Phase::Asking { said: Vec::new(), until: now + PATIENCE });
    }

    /// Sends away who has been asking for longest.
    fn make_room(&mut self) -> bool {
        let asks = |(_, visitor): &(&Ticket, &Visitor)| matches!(visitor.phase, Phase::Asking { .. });
        let oldest = self.visitors.iter().find(asks).map(|(ticket, _)| *ticket);
        oldest.and_then(|ticket| self.visitors.remove(&ticket)).is_some()
    }

    fn seat(&mut self, socket: UnixStream, phase: Phase) -> Option<(Ticket, Sender)> {
        let by = caller(&socket)?;
        self.last += 1;
        self.epoll.add(&socket, EpollEvent::new(interest(&phase), self.last)).ok()?;
        self.visitors.insert(self.last, Visitor { socket, by, phase });
        Some((self.last, by))
    }

    /// One of them says something, can be told something, or has left.
    fn hear(&mut self, ticket: Ticket, now: Instant) -> Option<Visit> {
        let visitor = self.visitors.get_mut(&ticket)?;
        let by = visitor.by;
        let heard = match &mut visitor.phase {
            Phase::Asking { said, .. } => read(&visitor.socket, said),
            Phase::Reading { rest, .. } => {
                let rest = std::mem::take(rest);
                self.tell(ticket, rest, now);
                return None;
            }
            // What else it says is not listened to, so this is its end.
            Phase::Waiting => Heard::End,
        };
        match heard {
            Heard::Part => {}
            Heard::Nonsense(reason) => self.answer(ticket, &Answer::refused(reason)),
            Heard::End => drop(self.visitors.remove(&ticket)),
            Heard::All(request) => {
                self.turn(ticket, Phase::Waiting);
                return Some(Visit { ticket, by, request });
            }
        }
        None
    }

    /// Answers; who has left meanwhile is told nothing.
    pub(crate) fn answer(&mut self, ticket: Ticket, answer: &Answer) {
        self.tell(ticket, answer.to_line(), Instant::now());
    }

    fn tell(&mut self, ticket: Ticket, mut bytes: Vec<u8>, now: Instant) {
        let Some(visitor) = self.visitors.get(&ticket) else { return };
        let until = match visitor.phase {
            Phase::Reading { until, .. } => until,
            Phase::Asking { .. } | Phase::Waiting => now + PATIENCE,
        };
        match write(&visitor.socket, &bytes) {
            Ok(count) if count < bytes.len() => {
                bytes.drain(..count);
                self.turn(ticket, Phase::Reading { rest: bytes, until });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.turn(ticket, Phase::Reading { rest: bytes, until });
            }
            // Told, or gone. What was written can be read also when this end is closed.
            Ok(_) | Err(_) => drop(self.visitors.remove(&ticket)),
        }
    }

    fn turn(&mut self, ticket: Ticket, phase: Phase) {
        let Some(visitor) = self.visitors.get_mut(&ticket) else { return };
        visitor.phase = phase;
        let mut event = EpollEvent::new(interest(&visitor.phase), ticket);
        if self.epoll.modify(&visitor.socket, &mut event).is_err() {
            self.visitors.remove(&ticket);
        }
    }

    /// Those who wait, for another process to answer.
    pub(crate) fn hand_out(&mut self, tickets: Vec<Ticket>) -> Vec<OwnedFd> {
        let visitors = tickets.into_iter().filter_map(|ticket| self.visitors.remove(&ticket));
        let sockets = visitors.map(|visitor| {
            // It stays open, and this process does not wait for it any more.
            let _watched = self.epoll.delete(&visitor.socket);
            OwnedFd::from(visitor.socket)
        });
        sockets.collect()
    }

    /// Takes those who wait over from another process.
    pub(crate) fn adopt(&mut self, sockets: Vec<OwnedFd>) -> Vec<(Ticket, Sender)> {
        sockets.into_iter().filter_map(|socket| self.seat(socket.into(), Phase::Waiting)).collect()
    }

    fn set_open(&mut self, open: bool, now: Instant) {
        self.closed_until = (!open).then(|| now + PAUSE);
        let flags = if open { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        // It was added, and stays.
        let _set = self.epoll.modify(&self.listener, &mut EpollEvent::new(flags, LISTENER));
    }
}

impl AsFd for Desk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl AsRawFd for Desk {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Visitor {
    fn until(&self) -> Option<Instant> {
        match self.phase {
            Phase::Asking { until, .. } | Phase::Reading { until, .. } => Some(until),
            Phase::Waiting => None,
        }
    }
}

/// That the other end is closed is told anyway.
fn interest(phase: &Phase) -> EpollFlags {
    match phase {
        Phase::Asking { .. } => EpollFlags::EPOLLIN,
        Phase::Waiting => EpollFlags::empty(),
        Phase::Reading { .. } => EpollFlags::EPOLLOUT,
    }
}

enum Heard {
    Part,
    All(Request),
    Nonsense(String),
    End,
}

/// Reads a line, or what there is of it.
fn read(mut socket: &UnixStream, said: &mut Vec<u8>) -> Heard {
    let mut space = [0; 1024];
    loop {
        match socket.read(&mut space) {
            Ok(0) => return Heard::End,
            Ok(count) => said.extend_from_slice(&space[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::Part,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Heard::End,
        }
        if let Some(end) = said.iter().position(|byte| *byte == b'\n') {
            return Request::parse(&said[..end]).map_or_else(Heard::Nonsense, Heard::All);
        }
        if said.len() > LONGEST_QUESTION {
            return Heard::Nonsense(format!("a request has at most {LONGEST_QUESTION} bytes"));
        }
    }
}

/// The user of this process, as it is now, and root.
fn admit(by: Sender) -> Result<(), String> {
    let own = geteuid().as_raw();
    match by.uid {
        0 => Ok(()),
        uid if uid == own => Ok(()),
        uid => Err(format!("user {uid} may not ask a process of user {own}")),
    }
}

/// Nothing is expected of it, and nothing waited for.
fn refuse(socket: &UnixStream, reason: String) {
    let _unread = write(socket, &Answer::refused(reason).to_line());
}

/// Who is gone is an error here, not a SIGPIPE.
fn write(socket: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
    Ok(send(socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)?)
}

/// Who has connected (unix(7)).
fn caller(socket: &UnixStream) -> Option<Sender> {
    let peer = getsockopt(socket, PeerCredentials).ok()?;
    Some(Sender { pid: u32::try_from(peer.pid()).unwrap_or(0), uid: peer.uid() })
}

/// Whether an error of accept(2) is about the one who came, and not about all.
fn is_of_one(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

/// The name of the socket of a process, in whose namespace of PIDs we are: those of containers that share the host's
/// network share such names too, and each has a process 1.
pub(super) fn name(pid: u32, started: u64) -> String {
    let namespace = fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino());
    format!("endless-{pid}-{started}-{namespace}")
}

fn listen() -> io::Result<UnixListener> {
    let pid = std::process::id();
    let started =
        birth::of(pid).ok_or_else(|| io::Error::other("/proc does not tell when it was started"))?;
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name(pid, started))?)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;

    /// A desk under a name of its own, and how one connects to it.
    fn desk() -> (Desk, impl Fn() -> UnixStream) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = name(std::process::id(), NEXT.fetch_add(1, Relaxed));
        let address = SocketAddr::from_abstract_name(name).expect("a name");
        let listener = UnixListener::bind_addr(&address).expect("nobody else's");
        let desk = Desk::resume(listener.into(), Vec::new()).expect("an epoll");
        (desk, move || UnixStream::connect_addr(&address).expect("it listens"))
    }

    fn attend(desk: &mut Desk, now: Instant) -> Vec<Visit> {
        let mut all = Vec::new();
        loop {
            let (visits, more) = desk.attend(now);
            all.extend(visits);
            if !more {
                return all;
            }
        }
    }

    fn answer_read_by(client: &UnixStream) -> Option<Answer> {
        client.set_nonblocking(true).expect("a socket");
        let mut line = String::new();
        BufReader::new(client).read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    fn says(mut client: &UnixStream, text: &str) {
        client.write_all(text.as_bytes()).expect("the kernel takes it");
    }

    #[test]
    fn a_question_that_comes_in_pieces_is_one() {
        let (mut desk, connect) = desk();
        let (client, now) = (connect(), Instant::now());
        for part in ["{\"requ", "est\":\"sto"] {
            says(&client, part);
            assert!(attend(&mut desk, now).is_empty());
        }
        says(&client, "p\"}\n and what nobody listens to");
        let visits = attend(&mut desk, now);
        assert!(matches!(visits[..], [Visit { request: Request::Stop, .. }]), "{visits:?}");
        assert_eq!(visits[0].by, Sender { pid: std::process::id(), uid: geteuid().as_raw() });
        assert!(attend(&mut desk, now).is_empty());
        desk.answer(visits[0].ticket, &Answer::refused("no"));
        assert_eq!(answer_read_by(&client), Some(Answer::refused("no")));
        assert!(desk.visitors.is_empty() && desk.deadline().is_none());
    }

    #[test]
    fn what_is_no_question_is_refused() {
        let (mut desk, connect) = desk();
        for text in ["garbage\n", &"x".repeat(LONGEST_QUESTION + 1), "\n"] {
            let client = connect();
            says(&client, text);
            assert!(attend(&mut desk, Instant::now()).is_empty());
            assert!(matches!(answer_read_by(&client), Some(Answer::Refused { .. })), "{text:?}");
        }
        assert!(desk.visitors.is_empty());
    }

    #[test]
    fn who_says_nothing_is_sent_away() {
        let (mut desk, connect) = desk();
        let (client, now) = (connect(), Instant::now());
        assert!(attend(&mut desk, now).is_empty());
        assert_eq!(desk.deadline(), Some(now + PATIENCE));
        assert!(attend(&mut desk, now + PATIENCE).is_empty());
        assert!(desk.visitors.is_empty());
        assert_eq!((&client).read(&mut [0]).expect("an end"), 0);
    }

    #[test]
    fn those_who_say_nothing_make_room() {
        let (mut desk, connect) = desk();
        let now = Instant::now();
        let mut silent = Vec::new();
        for _ in 0..3 * MOST {
            silent.push(connect());
            attend(&mut desk, now);
        }
        assert_eq!(desk.visitors.len(), MOST);
        let client = connect();
        says(&client, "{\"request\":\"status\"}\n");
        assert_eq!(attend(&mut desk, now).len(), 1);
        drop(silent);
        attend(&mut desk, now);
        assert_eq!(desk.visitors.len(), 1, "it waits for its answer");
    }

    #[test]
    fn those_who_wait_make_no_room() {
        let (mut desk, connect) = desk();
        let now = Instant::now();
        let waiting = |desk: &mut Desk| {
            let client = connect();
            says(&client, "{\"request\":\"restart\"}\n");
            attend(desk, now);
            client
        };
        let clients: Vec<UnixStream> = (0..MOST).map(|_| waiting(&mut desk)).collect();
        let one_more = waiting(&mut desk);
        assert!(matches!(answer_read_by(&one_more), Some(Answer::Refused { .. })));
        drop(clients);
        attend(&mut desk, now);
        assert!(desk.visitors.is_empty(), "who has left is not kept");
    }

    #[test]
    fn who_does_not_read_is_sent_away() {
        let (mut desk, connect) = desk();
        let client = connect();
        says(&client, "{\"request\":\"status\"}\n");
        let visits = attend(&mut desk, Instant::now());
        desk.answer(visits[0].ticket, &Answer::refused("x".repeat(4 << 20)));
        assert!(!desk.is_quiet() && desk.deadline().is_some());
        attend(&mut desk, Instant::now() + PATIENCE);
        assert!(desk.visitors.is_empty());
        drop(client);
    }

    #[test]
    fn who_waits_can_be_answered_by_another_desk() {
        let ((mut first, connect), (mut second, _)) = (desk(), desk());
        let client = connect();
        says(&client, "{\"request\":\"restart\"}\n");
        let visits = attend(&mut first, Instant::now());
        let sockets = first.hand_out(visits.iter().map(|visit| visit.ticket).collect());
        let adopted = second.adopt(sockets);
        drop(first);
        second.answer(adopted[0].0, &Answer::Restarted { generation: 2, pid: 7 });
        assert_eq!(answer_read_by(&client), Some(Answer::Restarted { generation: 2, pid: 7 }));
    }
}
