//! What stands before the control thread: handlers for signals, in a successor before `main`.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nix::sys::signal::SigSet;
use nix::unistd::Pid;
use tokio::runtime::{Builder, Runtime};

use crate::config::Config;
use crate::error::{Error, Result, describe};
use crate::handover::environment::{self, Start};
use crate::handover::launch::Launch;
use crate::lock::lock;
use crate::name;
use crate::pause::{self, Point};
use crate::signal::hook::Hooks;
use crate::signal::{Judge, Signal, Signals, ignored_now, unblock};

/// What must stand before anything else happens: handlers for signals, and what came from a predecessor.
pub(crate) struct Prepared {
    pub(super) runtime: Runtime,
    pub(super) signals: Option<Signals>,
    /// How it was started, if not by the user.
    pub(super) start: Option<Start>,
    pub(super) launch: Launch,
}

impl Prepared {
    /// The supervisor that started this process, if it was one.
    pub(crate) fn supervisor(&self) -> Option<Pid> {
        self.start.as_ref().filter(|start| start.by_supervisor).map(|start| start.by)
    }
}

/// What stands already before `main`, in a successor.
struct Early {
    runtime: Runtime,
    signals: Signals,
    start: Start,
}

static BEFORE_MAIN: Mutex<Option<io::Result<Early>>> = Mutex::new(None);

static STARTED_BY_ENDLESS: AtomicBool = AtomicBool::new(false);

/// Called before `main`: catches the signals that came blocked. Does nothing in a process that is no
/// successor.
///
/// It must not look at the hooks: they are collected before `main` too, in no order that could be relied on.
pub(crate) fn prepare_successor() {
    if let Some(start) = environment::take() {
        STARTED_BY_ENDLESS.store(true, Relaxed);
        pause::at(Point::Born);
        *lock(&BEFORE_MAIN) = Some(prepare_early(start));
    }
}

/// Whether this process was started by a predecessor or a supervisor.
pub(crate) fn is_started_by_endless() -> bool {
    STARTED_BY_ENDLESS.load(Relaxed)
}

fn prepare_early(start: Start) -> io::Result<Early> {
    name::restore();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let blocked = SigSet::thread_get_mask()?;
    let blocked: Vec<Signal> =
        Signal::ALL.into_iter().filter(|signal| blocked.contains(signal.number())).collect();
    let signals = {
        let _context = runtime.enter();
        Signals::catch(&blocked, Judge::new(start.ignored.clone()))?
    };
    unblock(&blocked)?;
    Ok(Early { runtime, signals, start })
}

/// Prepares the process.
///
/// # Errors
///
/// If the machine is out of descriptors, or does not say what this process runs.
pub(crate) fn prepare(config: &Config, hooks: &Hooks) -> Result<Prepared> {
    let early = lock(&BEFORE_MAIN).take();
    let prepared = early.transpose().and_then(|early| prepare_now(early, config, hooks));
    prepared.map_err(|error| Error::configuration(format!("cannot start: {}", describe(&error))))
}

fn prepare_now(early: Option<Early>, config: &Config, hooks: &Hooks) -> io::Result<Prepared> {
    let handled = if config.signals { handled(hooks) } else { Vec::new() };
    match early {
        Some(Early { runtime, signals, start }) => {
            handled.iter().try_for_each(|signal| signals.add(*signal))?;
            let launch = Launch::of_this_process(config.program.as_deref(), start.ignored.clone())?;
            Ok(Prepared { runtime, signals: Some(signals), start: Some(start), launch })
        }
        None => {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let ignored = ignored_now();
            let signals = {
                let _context = runtime.enter();
                let catch = || Signals::catch(&handled, Judge::new(ignored.clone()));
                config.signals.then(catch).transpose()?
            };
            let launch = Launch::of_this_process(config.program.as_deref(), ignored)?;
            Ok(Prepared { runtime, signals, start: None, launch })
        }
    }
}

pub(crate) fn handled(hooks: &Hooks) -> Vec<Signal> {
    Signal::ALL.into_iter().filter(|signal| is_handled(*signal, hooks)).collect()
}

pub(super) fn is_handled(signal: Signal, hooks: &Hooks) -> bool {
    Signal::ALWAYS.contains(&signal) || hooks.has(signal)
}
