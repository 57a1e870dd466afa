//! A generation, as its supervisor knows it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::signal::{Signal as Number, kill};
use nix::unistd::Pid;

use super::program::{Identity, Program};
use crate::bequest::Bequest;
use crate::error::describe;
use crate::handover::PROTOCOL;
use crate::handover::launch::Launch;
use crate::handover::message::{Hello, Kin, Message, Report};
use crate::handover::wire::{ChannelError, Wire};
use crate::listener::ListenerNote;
use crate::log::event;
use crate::pause::{self, Point};
use crate::secrets::Secrets;
use crate::signal::Signal;

/// A listener, and what is said of it.
pub(super) type Listener = (ListenerNote, OwnedFd);

/// What a supervisor keeps of whoever serves, to give it to each that is to serve next.
#[derive(Debug, Default)]
pub(super) struct Stock {
    /// Copies of what it listens on.
    pub(super) listeners: Vec<Listener>,
    /// Copies of what its user bequeaths.
    pub(super) bequests: Vec<Bequest>,
    pub(super) secrets: Option<Secrets>,
}

impl Stock {
    fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.bequests.is_empty() && self.secrets.is_none()
    }
}

/// For how long one whose channel is closed may take to end by itself.
const END_TIME: Duration = Duration::from_secs(1);

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// On its way to serving.
    Starting,
    /// There is one at most.
    Serving,
    Draining,
}

/// A process that this one has started.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) pid: Pid,
    pub(super) role: Role,
    /// Which one it is, or will be when it serves.
    pub(super) number: u64,
    /// What it was started from, until it serves.
    pub(super) file: Identity,
    /// What it says of itself.
    pub(super) report: Report,
    has_reported: bool,
    /// What it has to leave.
    pub(super) stock: Stock,
    /// When it is ended for certain.
    pub(super) end_at: Option<Instant>,
    /// What is coming of that.
    incoming: Stock,
    socket: UnixStream,
    wire: Wire,
    /// Whether anything more may come from it.
    listening: bool,
}

/// What came from a generation.
#[derive(Debug)]
pub(super) enum Heard {
    Said(Message),
    /// Its listeners are new ones.
    Relisted,
    Closed,
    Broken(String),
}

impl Generation {
    /// Starts one, and hands everything over; what the kernel does not take at once goes out later.
    pub(super) fn start(
        launch: &Launch,
        program: &Program,
        blocked: &[Signal],
        hello: Hello,
        stock: &Stock,
        moving: Option<OwnedFd>,
    ) -> Result<Self, String> {
        let failed = |error| format!("cannot start {}: {}", launch.program().display(), describe(&error));
        let (near, far) = UnixStream::pair().map_err(failed)?;
        near.set_nonblocking(true).map_err(failed)?;
        let file = program.identity(launch);
        let pid = program.start(launch, far.into(), blocked).map_err(failed)?;
        pause::at(Point::Started);
        let mut generation = Self::resumed(pid, Role::Starting, file, near);
        generation.number = if hello.first { 0 } else { hello.generation.saturating_add(1) };
        generation.wire.queue(Message::Hello(Hello { protocol: PROTOCOL, ..hello }));
        let wire = &mut generation.wire;
        let queued = wire.queue_listeners(stock.listeners.iter().map(duplicate));
        if let Err(error) = queued.and_then(|()| wire.queue_bequests(stock.bequests.iter().map(duplicate))) {
            generation.kill();
            return Err(format!("cannot hand over: {}", describe(&error)));
        }
        if let Some(secrets) = stock.secrets.clone() {
            wire.queue(Message::Secrets(secrets));
        }
        if let Some(channel) = moving {
            generation.wire.queue(Message::MovingChannel(channel));
        }
        generation.say(Message::Complete);
        pause::at(Point::HandedOver);
        Ok(generation)
    }

    /// One that was started before.
    pub(super) fn resumed(pid: Pid, role: Role, file: Identity, socket: UnixStream) -> Self {
        Self {
            pid,
            role,
            number: 0,
            file,
            report: Report::default(),
            has_reported: false,
            stock: Stock::default(),
            end_at: None,
            incoming: Stock::default(),
            socket,
            wire: Wire::default(),
            listening: true,
        }
    }

    /// As its successor is told of it; `None` for one that serves nothing yet.
    pub(super) fn kin(&self) -> Option<Kin> {
        Kin::of(self.pid.as_raw().unsigned_abs(), self.number).filter(|_| self.role != Role::Starting)
    }

    /// Whether nothing is half said, on either side, and nothing is to be done about it.
    pub(super) fn is_quiet(&self) -> bool {
        self.wire.is_empty() && self.incoming.is_empty() && self.listening && self.end_at.is_none()
    }

    /// One that does not read any more will be seen to end, or to be late.
    pub(super) fn say(&mut self, message: Message) {
        self.wire.queue(message);
        self.flush();
    }

    fn flush(&mut self) {
        if let Err(error) = self.wire.send(&self.socket) {
            event!(WARN, "cannot speak to a generation", pid = self.pid, error = describe(&error));
        }
    }

    /// What it is waited for.
    pub(super) fn interest(&self) -> PollFlags {
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::POLLIN, self.listening);
        interest.set(PollFlags::POLLOUT, self.wire.is_waiting());
        interest
    }

    /// Sends what waits, and reads what has come: some of it, or all of it if it is gone.
    pub(super) fn hear(&mut self, is_gone: bool) -> Vec<Heard> {
        self.flush();
        let mut heard = Vec::new();
        while self.listening {
            match self.read(&mut heard) {
                Ok(true) if is_gone => {}
                Ok(_) => break,
                Err(end) => {
                    self.listening = false;
                    heard.push(end);
                }
            }
        }
        heard
    }

    /// Whether there was something to read.
    fn read(&mut self, heard: &mut Vec<Heard>) -> Result<bool, Heard> {
        let broken = |error: ChannelError| Heard::Broken(error.to_string());
        let count = match self.wire.read(&self.socket) {
            Err(ChannelError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            count => count.map_err(broken)?,
        };
        while let Some(message) = self.wire.next().map_err(broken)? {
            match message {
                Message::Report(report) => {
                    self.report = report;
                    self.has_reported = true;
                    // What follows is all that there is, also where an earlier report came to no end.
                    self.incoming = Stock::default();
                }
                Message::Ready(_) if !self.has_reported => {
                    return Err(Heard::Broken("the successor was ready without a report".to_owned()));
                }
                Message::Listeners(some) => self.incoming.listeners.extend(some),
                Message::Bequests(some) => self.incoming.bequests.extend(some),
                Message::Secrets(secrets) => self.incoming.secrets = Some(secrets),
                Message::Complete => {
                    self.stock = std::mem::take(&mut self.incoming);
                    heard.push(Heard::Relisted);
                }
                message => heard.push(Heard::Said(message)),
            }
        }
        if count == 0 { Err(Heard::Closed) } else { Ok(true) }
    }

    /// Nothing can be said to it any more: it has a moment to end by itself.
    pub(super) fn give_up(&mut self, now: Instant) {
        self.end_at.get_or_insert(now + END_TIME);
    }

    /// Ends it for certain. It is not reaped before, so its number is nobody else's.
    pub(super) fn kill(&self) {
        if let Err(error) = kill(self.pid, Number::SIGKILL) {
            event!(WARN, "cannot end a generation", pid = self.pid, error = error);
        }
    }
}

impl AsFd for Generation {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn duplicate<T: Clone>((said, descriptor): &(T, OwnedFd)) -> io::Result<(T, OwnedFd)> {
    Ok((said.clone(), descriptor.try_clone()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::message::Ready;

    fn generation() -> (Generation, UnixStream) {
        let (near, far) = UnixStream::pair().expect("a pair");
        near.set_nonblocking(true).expect("a socket");
        (Generation::resumed(Pid::this(), Role::Draining, None, near), far)
    }

    #[test]
    fn one_that_has_closed_its_channel_is_not_waited_for() {
        let (mut generation, far) = generation();
        assert_eq!(generation.interest(), PollFlags::POLLIN);
        drop(far);
        assert!(matches!(generation.hear(false)[..], [Heard::Closed]));
        assert_eq!(generation.interest(), PollFlags::empty());
        generation.say(Message::Pause(crate::handover::message::Turn::default()));
        assert_eq!(generation.interest(), PollFlags::empty(), "there is nobody to say anything to");
    }

    #[test]
    fn one_that_is_ready_has_said_what_it_is() {
        let (mut generation, far) = generation();
        let mut wire = Wire::default();
        wire.queue(Message::Ready(Ready::default()));
        wire.send(&far).expect("it fits into the kernel's buffer");
        assert!(matches!(generation.hear(false)[..], [Heard::Broken(_)]));
    }

    #[test]
    fn one_that_is_gone_is_heard_to_its_end() {
        let (mut generation, far) = generation();
        let mut wire = Wire::default();
        (0..100).for_each(|_| wire.queue(Message::Complete));
        wire.queue(Message::Confirmed);
        wire.send(&far).expect("it fits into the kernel's buffer");
        drop(far);
        let heard = generation.hear(true);
        assert!(matches!(&heard[..], [.., Heard::Said(Message::Confirmed), Heard::Closed]));
    }
    /// As of a generation that ran out of descriptors in the middle of one.
    #[test]
    fn a_report_that_came_to_no_end_leaves_nothing_to_the_next() {
        let (mut generation, far) = generation();
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").expect("a descriptor"));
        let mut wire = Wire::default();
        for name in ["first", "second"] {
            wire.queue(Message::Report(Report::default()));
            wire.queue(Message::Bequests(vec![(name.to_owned(), null())]));
        }
        wire.queue(Message::Complete);
        wire.send(&far).expect("it fits into the kernel's buffer");
        let heard = std::iter::repeat_with(|| generation.hear(false)).take(10).flatten().next();
        assert!(matches!(heard, Some(Heard::Relisted)), "{heard:?}");
        let names: Vec<&str> = generation.stock.bequests.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["second"]);
    }
}
