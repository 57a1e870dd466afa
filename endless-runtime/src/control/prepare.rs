//! What stands before the control thread: handlers for signals, in a successor before `main`.

use std::io;
use std::sync::{Mutex, PoisonError};

use nix::sys::signal::SigSet;
use tokio::runtime::{Builder, Runtime};

use crate::config::Config;
use crate::error::{Error, Result, describe};
use crate::handover::environment::{self, FromPredecessor};
use crate::handover::launch::Launch;
use crate::pause::{self, Point};
use crate::signal::hook::Hooks;
use crate::signal::{Signal, Signals, Tty, ignored_now, unblock};

/// What must stand before anything else happens: handlers for signals, and what came from a predecessor.
pub(crate) struct Prepared {
    pub(super) runtime: Runtime,
    pub(super) signals: Option<Signals>,
    pub(super) predecessor: Option<FromPredecessor>,
    pub(super) launch: Launch,
}

/// What stands already before `main`, in a successor.
struct Early {
    runtime: Runtime,
    signals: Signals,
    predecessor: FromPredecessor,
}

static BEFORE_MAIN: Mutex<Option<io::Result<Early>>> = Mutex::new(None);

/// Called before `main`: catches the signals that came blocked. Does nothing in a process that is no
/// successor.
///
/// It must not look at the hooks: they are collected before `main` too, in no order that could be relied on.
pub(crate) fn prepare_successor() {
    if let Some(from) = environment::take() {
        pause::at(Point::Born);
        *BEFORE_MAIN.lock().unwrap_or_else(PoisonError::into_inner) = Some(prepare_early(from));
    }
}

fn prepare_early(predecessor: FromPredecessor) -> io::Result<Early> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let blocked = SigSet::thread_get_mask()?;
    let blocked: Vec<Signal> =
        Signal::ALL.into_iter().filter(|signal| blocked.contains(signal.number())).collect();
    let signals = {
        let _context = runtime.enter();
        Signals::catch(&blocked, predecessor.ignored.clone(), Tty::look())?
    };
    unblock(&blocked)?;
    Ok(Early { runtime, signals, predecessor })
}

/// Prepares the process.
///
/// # Errors
///
/// If the machine is out of descriptors, or does not say what this process runs.
pub(crate) fn prepare(config: &Config, hooks: &Hooks) -> Result<Prepared> {
    let early = BEFORE_MAIN.lock().unwrap_or_else(PoisonError::into_inner).take();
    let prepared = early.transpose().and_then(|early| prepare_now(early, config, hooks));
    prepared.map_err(|error| Error::configuration(format!("cannot start: {}", describe(&error))))
}

fn prepare_now(early: Option<Early>, config: &Config, hooks: &Hooks) -> io::Result<Prepared> {
    let handled = if config.signals { handled(hooks) } else { Vec::new() };
    match early {
        Some(Early { runtime, signals, predecessor }) => {
            handled.iter().try_for_each(|signal| signals.add(*signal))?;
            let launch = Launch::of_this_process(config.program.as_deref(), predecessor.ignored.clone())?;
            Ok(Prepared { runtime, signals: Some(signals), predecessor: Some(predecessor), launch })
        }
        None => {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let ignored = ignored_now();
            let signals = {
                let _context = runtime.enter();
                config.signals.then(|| Signals::catch(&handled, ignored.clone(), Tty::look())).transpose()?
            };
            let launch = Launch::of_this_process(config.program.as_deref(), ignored)?;
            Ok(Prepared { runtime, signals, predecessor: None, launch })
        }
    }
}

pub(super) fn handled(hooks: &Hooks) -> Vec<Signal> {
    Signal::ALL.into_iter().filter(|signal| is_handled(*signal, hooks)).collect()
}

pub(super) fn is_handled(signal: Signal, hooks: &Hooks) -> bool {
    Signal::ALWAYS.contains(&signal) || hooks.has(signal)
}
