//! The end of a process's life: a stop or a successor, the drain, the hammer.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use nix::unistd::getpid;
use tokio::sync::Notify;

use super::moving::Movers;
use super::{Control, signal_text};
use crate::bequest::BEQUESTS;
use crate::error::Error;
use crate::handover::successor::Successor;
use crate::log::{self, event};
use crate::pause::{self, Point};
use crate::process::{Process, STOPS, Stage, enter};
use crate::signal::hook::Moment;
use crate::signal::{Event, Outcome, Signal};

/// How far this process is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Going,
    /// A stop was asked for.
    Stopping,
    Draining,
    /// Nothing is in flight any more; only a successor that is being ended may be left.
    Drained,
}

/// Why a drain begins.
pub(super) enum Cause {
    Stop(Event),
    /// A stop before this process served, while its predecessor does.
    CalledOff(Event),
    Restarted {
        successor: Box<Successor>,
        event: Event,
    },
    /// The supervisor has replaced this process.
    Replaced {
        event: Event,
        /// Over which connections go to the successor, if it takes any.
        moving: Option<OwnedFd>,
    },
}

impl Cause {
    fn event(&self) -> &Event {
        match self {
            Self::Stop(event) | Self::CalledOff(event) => event,
            Self::Restarted { event, .. } | Self::Replaced { event, .. } => event,
        }
    }

    /// Over which connections go to the successor.
    fn take_moving(&mut self) -> Option<OwnedFd> {
        match self {
            Self::Stop(_) | Self::CalledOff(_) => None,
            Self::Restarted { successor, .. } => successor.take_moving(),
            Self::Replaced { moving, .. } => moving.take(),
        }
    }

    /// Whether the listeners are somebody else's now.
    fn has_handed_over(&self) -> bool {
        matches!(self, Self::Restarted { .. } | Self::Replaced { .. })
    }
}

impl Control {
    /// Stops: the hooks, then the drain. A successor that is starting is not wanted any more.
    pub(super) fn stop(&mut self, event: Event) {
        if self.life != Life::Going {
            event!(INFO, "already draining", pid = getpid());
            return;
        }
        self.life = Life::Stopping;
        self.tell_stopping();
        STOPS.store(true, Relaxed);
        if self.restart.is_none() {
            self.forget_again();
        }
        if let Some(supervised) = &mut self.supervised {
            supervised.answer_all(|| Err(Error::draining("restart")));
        }
        // One that does not serve yet never will. A predecessor serves on, and the hooks run there.
        let has_hooks = self.arrival.take().is_none() || !self.is_successor;
        if let Some(restart) = &self.restart {
            restart.call_off.send_replace(Some(format!("stopped by {}", signal_text(&event))));
        }
        let (process, hurry) = (self.process, Arc::clone(&self.hurry));
        self.stopping = Some(Box::pin(async move {
            if !has_hooks {
                return Cause::CalledOff(event);
            }
            let signal = event.signal.unwrap_or(Signal::Terminate);
            process.hooks.run(Moment::Pre(signal), &event).await;
            if signal == Signal::Terminate {
                lame_duck(process.config.lame_duck, &hurry).await;
            }
            Cause::Stop(event)
        }));
    }

    pub(super) fn interrupt(&mut self, event: Event) {
        self.interrupts += 1;
        match self.interrupts {
            1 => {
                // Also out of a lame duck's time.
                self.hurry.notify_one();
                self.stop(event);
            }
            _ => self.hammer.strike(event),
        }
    }

    pub(super) fn hammer_wanted(&mut self, event: Event) {
        match self.life {
            Life::Draining | Life::Drained => {
                let process = self.process;
                let hammer = self.hammer.clone();
                tokio::spawn(async move {
                    process.hooks.run(Moment::Pre(Signal::User2), &event).await;
                    hammer.strike(event);
                });
            }
            Life::Going | Life::Stopping => {
                event!(INFO, "hammer ignored: not draining", pid = getpid());
                self.run_hooks(event, Outcome::Nothing);
            }
        }
    }

    pub(super) fn begin_drain(&mut self, mut cause: Cause) {
        let process = self.process;
        let event = cause.event().clone();
        // Before anything is said: a log that nobody reads may block.
        self.hammer.raise(process.config.hammer_time, event.clone());
        if let Some(moment) = process.config.hammer_time.and_then(|time| Instant::now().checked_add(time)) {
            // It drains once.
            let _set = process.hammer_at.set(moment);
        }
        self.life = Life::Draining;
        if !cause.has_handed_over() {
            process.servers.let_go_for_good();
        }
        BEQUESTS.let_go();
        let movers = self.leave(cause.take_moving());
        enter(Stage::Draining);
        event!(
            INFO,
            "draining",
            pid = getpid(),
            cause = signal_text(&event),
            connections = process.servers.connections()
        );
        pause::at(Point::Draining);
        self.drain = Some(Box::pin(drain(process, cause, movers)));
    }

    pub(super) fn on_drained(&mut self) {
        let servers = &self.process.servers;
        event!(INFO, "drained", pid = getpid(), requests = servers.requests(), moved = servers.moved());
        self.life = Life::Drained;
        self.finish_if_drained();
    }

    /// Nothing is left behind: `serve` returns when a successor that was called off is gone too.
    pub(super) fn finish_if_drained(&self) {
        if self.life == Life::Drained && self.restart.is_none() && self.hooks.is_empty() {
            self.process.clean_up();
            log::flush();
            enter(Stage::Finished);
        }
    }
}

/// Waits for what is in flight; the hooks see the outcome before `serve` returns.
async fn drain(process: &'static Process, cause: Cause, movers: Option<Movers>) {
    let (event, stopped) = match cause {
        Cause::CalledOff(_) => return process.servers.emptied().await,
        Cause::Stop(event) => (event, true),
        Cause::Restarted { successor, event } => {
            let mut watch = tokio::spawn(watch_over(*successor));
            process.hooks.run(Moment::Post(Signal::Hangup), &event).await;
            emptied(process, movers).await;
            // If it has ended by now, somebody has to say so. If not, its end is nothing to this process any more:
            // who reaps is to say how it ended, and there may be no time for that.
            if tokio::time::timeout(Duration::ZERO, &mut watch).await.is_err() {
                watch.abort();
            }
            (event, false)
        }
        Cause::Replaced { event, .. } => {
            process.hooks.run(Moment::Post(Signal::Hangup), &event).await;
            emptied(process, movers).await;
            (event, false)
        }
    };
    process.servers.emptied().await;
    process.servers.take_no_more();
    let event = if stopped { event.with(Outcome::Stopped) } else { event };
    process.hooks.run(Moment::Drained, &event).await;
    if stopped {
        process.hooks.run(Moment::Post(event.signal.unwrap_or(Signal::Terminate)), &event).await;
    }
}

/// Resolves when nothing is in flight here, and what has moved is the successor's.
async fn emptied(process: &'static Process, movers: Option<Movers>) {
    match movers {
        Some(movers) => movers.finish(process).await,
        None => process.servers.emptied().await,
    }
}

/// Goes on accepting, while whoever watches the readiness path sends no more clients.
async fn lame_duck(time: Duration, hurry: &Notify) {
    if time.is_zero() {
        return;
    }
    event!(INFO, "lame duck", pid = getpid(), time = format!("{time:?}"));
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = hurry.notified() => {}
    }
}

/// A successor that ends while its predecessor still drains is reaped; nobody serves then, and the log says
/// so.
async fn watch_over(successor: Successor) {
    let pid = successor.pid();
    let ended = successor.ended().await;
    event!(WARN, "the successor has ended while its predecessor still drains", successor = pid, how = ended);
}
