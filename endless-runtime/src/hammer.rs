//! The hammer: ends what is still running when the hammer time is over.
//!
//! A plain OS thread, because by then nothing else can be relied on: a handler may block every thread of the
//! runtime, or hold the lock of the log.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal as Number, kill};
use nix::unistd::{Pid, getpid};

use crate::log::event;
use crate::process::Process;
use crate::signal::hook::run_hammered;
use crate::signal::{Event, Outcome};
use crate::sys;

/// For how long the log line and the `hammered` hooks, all together, may hold up the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A raised hammer. Dropping it does not lower it: once a drain has begun, the process ends.
pub(crate) struct Hammer {
    now: SyncSender<()>,
}

/// Lets the hammer fall from anywhere.
pub(crate) struct Handle {
    now: SyncSender<()>,
}

impl Hammer {
    /// Falls after `hammer_time`, counted from now; with `None` only when it is told.
    pub(crate) fn raise(process: &'static Process, hammer_time: Option<Duration>, event: Event) -> Self {
        let (now, told) = sync_channel(1);
        let wait = move || {
            await_moment(&told, hammer_time);
            strike(process, event);
        };
        if let Err(error) = thread::Builder::new().name("endless-hammer".to_owned()).spawn(wait) {
            event!(ERROR, "cannot start the hammer's thread", error = error);
        }
        Self { now }
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle { now: self.now.clone() }
    }
}

impl Handle {
    pub(crate) fn strike(&self) {
        // If it was told before, it falls already.
        let _told = self.now.try_send(());
    }
}

fn await_moment(told: &Receiver<()>, hammer_time: Option<Duration>) {
    match hammer_time.map(|time| told.recv_timeout(time)) {
        Some(Ok(()) | Err(RecvTimeoutError::Timeout)) => {}
        Some(Err(RecvTimeoutError::Disconnected)) => {}
        None => drop(told.recv()),
    }
}

fn strike(process: &'static Process, event: Event) -> ! {
    let connections = process.servers.connections();
    let (done, last_words) = channel();
    let say = move || {
        event!(
            WARN,
            "[STOP - Hammer Time] Forcefully shutting down",
            pid = getpid(),
            connections = connections
        );
        run_hammered(&event.with(Outcome::Hammered { connections }));
        drop(done);
    };
    // On a thread of its own, which may hang; without one there are no last words.
    if thread::Builder::new().name("endless-last-words".to_owned()).spawn(say).is_ok() {
        let _said: Result<(), RecvTimeoutError> = last_words.recv_timeout(LAST_WORDS);
    }
    end_starting_successor(process);
    process.clean_up();
    sys::exit_now(0)
}

/// A successor that is starting would otherwise take over from a service that is meant to stop.
fn end_starting_successor(process: &Process) {
    let pid = process.starting.load(Relaxed);
    if pid > 0 {
        let _gone = kill(Pid::from_raw(pid), Number::SIGKILL);
    }
}
