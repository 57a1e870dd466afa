//! Signals as they come in: caught by signal-hook, with who sent them, and what they mean where a
//! terminal is involved.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;

use futures_core::Stream as _;
use nix::sys::signal::SigSet;
use nix::unistd::getsid;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};
use signal_hook_tokio::{Handle, SignalsInfo};

use super::{Sender, Signal};
use crate::sys;

/// The stream of caught signals.
pub(crate) struct Signals {
    stream: SignalsInfo<WithOrigin>,
    handle: Handle,
    judge: Judge,
}

/// Knows what a signal means where a terminal is involved.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    ignored_at_start: Vec<Signal>,
    tty: Tty,
}

/// A signal, and what it means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) signal: Signal,
    pub(crate) sender: Option<Sender>,
    /// A SIGHUP that says that the terminal is gone, not that somebody asks for a restart.
    pub(crate) hangup: bool,
    /// Whether it is one that a terminal has sent to the whole group of processes.
    pub(crate) from_terminal: bool,
}

impl Signals {
    /// Catches `signals` from now on. Needs the tokio runtime that will read them.
    pub(crate) fn catch(signals: &[Signal], judge: Judge) -> io::Result<Self> {
        let stream = SignalsInfo::with_exfiltrator(
            signals.iter().map(|signal| signal.number() as i32),
            WithOrigin::default(),
        )?;
        let handle = stream.handle();
        Ok(Self { stream, handle, judge })
    }

    /// Catches one more; one that is caught already stays so.
    pub(crate) fn add(&self, signal: Signal) -> io::Result<()> {
        self.handle.add_signal(signal.number() as i32)
    }

    /// The next signal that counts. Cancel safe.
    pub(crate) async fn next(&mut self) -> Received {
        loop {
            let next = poll_fn(|cx| Pin::new(&mut self.stream).poll_next(cx));
            let origin = next.await.expect("the stream is never closed");
            if let Some(received) = self.judge.judge(&origin) {
                return received;
            }
        }
    }
}

impl Judge {
    /// `ignored_at_start`: what the first process was started with ignored.
    pub(crate) fn new(ignored_at_start: Vec<Signal>) -> Self {
        Self { ignored_at_start, tty: Tty::look() }
    }

    /// One that has begun in another build of this process.
    pub(crate) fn resumed(ignored_at_start: Vec<Signal>, had_terminal: bool) -> Self {
        Self { ignored_at_start, tty: Tty { opened_at_start: had_terminal } }
    }

    pub(crate) fn ignored_at_start(&self) -> &[Signal] {
        &self.ignored_at_start
    }

    pub(crate) fn had_terminal(&self) -> bool {
        self.tty.opened_at_start
    }

    /// A signal that was ignored when the process started (under `nohup`, or SIGINT of a script's background
    /// job) stays ignored when the terminal sends it; somebody's `kill` still counts.
    pub(crate) fn judge(&self, origin: &Origin) -> Option<Received> {
        let signal = Signal::from_number(origin.signal)?;
        let sender = origin
            .process
            .as_ref()
            .map(|process| Sender { pid: u32::try_from(process.pid).unwrap_or(0), uid: process.uid });
        let from_kernel = matches!(origin.cause, Cause::Kernel);
        let hangup = signal == Signal::Hangup && (from_kernel || self.tty.hung_up(sender));
        let ignored = (from_kernel || hangup) && self.ignored_at_start.contains(&signal);
        let from_terminal = hangup || from_kernel && Signal::OF_TERMINALS.contains(&signal);
        (!ignored).then_some(Received { signal, sender, hangup, from_terminal })
    }
}

/// Lets the blocked signals come that a predecessor had blocked for us, now that handlers stand.
pub(crate) fn unblock(signals: &[Signal]) -> io::Result<()> {
    set_of(signals).thread_unblock().map_err(Into::into)
}

pub(crate) fn set_of(signals: &[Signal]) -> SigSet {
    signals.iter().map(|signal| signal.number()).collect()
}

/// The signals that this process ignores now, before anything is caught.
pub(crate) fn ignored_now() -> Vec<Signal> {
    Signal::ALL.into_iter().filter(|signal| sys::is_ignored(signal.number())).collect()
}

/// The controlling terminal, as it was at the start.
#[derive(Clone, Copy, Debug)]
struct Tty {
    opened_at_start: bool,
}

impl Tty {
    fn look() -> Self {
        Self { opened_at_start: opens() }
    }

    /// A shell that loses its terminal sends SIGHUP on to its jobs itself: it leads the session, and the
    /// terminal that was there is gone.
    fn hung_up(self, sender: Option<Sender>) -> bool {
        let leader = getsid(None).ok().and_then(|pid| u32::try_from(pid.as_raw()).ok());
        self.opened_at_start && leader.is_some() && sender.map(|sender| sender.pid) == leader && !opens()
    }
}

fn opens() -> bool {
    File::open("/dev/tty").is_ok()
}
