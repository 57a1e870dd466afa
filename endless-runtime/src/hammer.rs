//! The hammer: ends what is still running when the hammer time is over.
//!
//! A plain OS thread, because by then nothing else can be relied on: a handler may block every thread of the
//! runtime, or hold the lock of the log. It is started with the process, when there still is a thread to be
//! had.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal as Number, kill};
use nix::unistd::{Pid, getpid};

use crate::log::{self, event};
use crate::process::Process;
use crate::signal::hook::Moment;
use crate::signal::{Event, Outcome};
use crate::sys;

/// For how long the log line and the hooks, all together, may hold up the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Tells the hammer's thread what to do, from anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Hammer {
    orders: Sender<Order>,
}

#[derive(Debug)]
enum Order {
    /// Fall at this moment, or never by itself. The event is what the drain began with.
    Raise(Option<Instant>, Event),
    /// Fall now. The event is what asked for it.
    Strike(Event),
}

impl Hammer {
    /// # Errors
    ///
    /// If the system has no thread for it.
    pub(crate) fn forge(process: &'static Process) -> io::Result<Self> {
        let (orders, told) = channel();
        let wait = move || {
            let causes = await_moment(&told);
            strike(process, causes);
        };
        thread::Builder::new().name("endless-hammer".to_owned()).spawn(wait)?;
        Ok(Self { orders })
    }

    /// Falls after `hammer_time`, counted from now; with `None` only when it is told. Once raised, it is not
    /// lowered: when a drain has begun, the process ends.
    pub(crate) fn raise(&self, hammer_time: Option<Duration>, event: Event) {
        let moment = hammer_time.map(|time| Instant::now() + time);
        self.order(Order::Raise(moment, event));
    }

    /// Falls now.
    pub(crate) fn strike(&self, event: Event) {
        self.order(Order::Strike(event));
    }

    fn order(&self, order: Order) {
        // If it does not hear, it falls already.
        let _falling = self.orders.send(order);
    }
}

/// Waits for the moment to fall; returns the events that led to it.
fn await_moment(told: &Receiver<Order>) -> Vec<Event> {
    let mut causes = Vec::new();
    let mut moment: Option<Instant> = None;
    loop {
        let order = match moment {
            Some(moment) => told.recv_timeout(moment.saturating_duration_since(Instant::now())),
            None => told.recv().map_err(RecvTimeoutError::from),
        };
        match order {
            Ok(Order::Raise(at, event)) => {
                moment = at;
                causes.push(event);
            }
            Ok(Order::Strike(event)) => {
                causes.push(event);
                return causes;
            }
            Err(RecvTimeoutError::Timeout) => return causes,
            // The control thread is gone, and the process with it.
            Err(RecvTimeoutError::Disconnected) => thread::park(),
        }
    }
}

fn strike(process: &'static Process, causes: Vec<Event>) -> ! {
    let (done, last_words) = channel::<()>();
    let say = move || {
        say_last_words(process, &causes);
        log::flush();
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

fn say_last_words(process: &Process, causes: &[Event]) {
    process.servers.note_hammered();
    let connections = process.servers.connections();
    event!(WARN, "[STOP - Hammer Time] Forcefully shutting down", pid = getpid(), connections = connections);
    let outcome = Outcome::Hammered { connections };
    let [.., last] = causes else { return };
    process.hooks.run_here(Moment::Hammered, &last.with(outcome.clone()));
    // What asked for a restart has had its outcome; what asked for an end has it now.
    for event in causes.iter().filter(|event| event.outcome.is_none()) {
        if let Some(signal) = event.signal {
            process.hooks.run_here(Moment::Post(signal), &event.with(outcome.clone()));
        }
    }
}

/// A successor that is starting would otherwise take over from a service that is meant to stop.
fn end_starting_successor(process: &Process) {
    let pid = process.starting.load(Relaxed);
    if pid > 0 {
        let _gone = kill(Pid::from_raw(pid), Number::SIGKILL);
    }
}
