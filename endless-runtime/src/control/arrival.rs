//! Becoming the generation that serves.

use std::future::pending;

use nix::unistd::getpid;
use tokio::sync::mpsc;

use super::Control;
use crate::error::describe;
use crate::handover::environment::FromPredecessor;
use crate::handover::predecessor::{Estate, Predecessor, Wish};
use crate::log::{self, event};
use crate::pause::{self, Point};
use crate::pid_file;
use crate::process::{Failure, Process, Stage, enter};
use crate::service::BoxFuture;
use crate::signal::hook::Moment;
use crate::signal::{Event, Signal};
use crate::sys;

impl Control {
    pub(super) fn on_arrival(&mut self, predecessor: Option<Predecessor>) {
        let of = predecessor
            .as_ref()
            .map_or_else(|| "none".to_owned(), |predecessor| predecessor.pid().to_string());
        let generation = self.process.generation();
        if let Some(path) = &self.process.config.pid_file {
            pid_file::write(path);
        }
        event!(INFO, "serving", pid = getpid(), generation = generation, predecessor = of);
        if predecessor.is_some() {
            pause::at(Point::Serving);
        }
        self.predecessor = predecessor.map(|mut predecessor| -> BoxFuture<'static, ()> {
            Box::pin(async move { predecessor.asks_for_a_restart().await })
        });
        let (process, event) = (self.process, Event { signal: None, ..self.event(Signal::Hangup) });
        self.hooks.spawn(async move { process.hooks.run(Moment::Ready, &event).await });
        if let Some(wanted) = self.again.take() {
            self.begin_restart(wanted);
        }
    }
}

/// Becomes the generation that serves: receives what a predecessor hands over, waits until every server is
/// bound, and accepts once nobody else does. Returns the predecessor that is still there.
pub(super) async fn arrive(
    process: &'static Process,
    from: Option<FromPredecessor>,
    failures: mpsc::UnboundedReceiver<Failure>,
) -> Option<Predecessor> {
    let mut predecessor = match from.map(Predecessor::meet) {
        Some(Ok(predecessor)) => Some(predecessor),
        Some(Err(error)) => end(&describe(&error)),
        None => None,
    };
    let listeners = match &mut predecessor {
        Some(predecessor) => match estate(predecessor).await {
            Ok(estate) => {
                process.set_generation(estate.generation.saturating_add(1));
                estate.listeners
            }
            Err(reason) => end(&reason),
        },
        None => Vec::new(),
    };
    process.servers.inherit(listeners);
    let predecessor = take_over(process, predecessor, failures).await;
    process.servers.open();
    enter(Stage::Serving);
    predecessor
}

async fn estate(predecessor: &mut Predecessor) -> Result<Estate, String> {
    pause::at(Point::Met);
    let estate = predecessor.estate().await;
    pause::at(Point::Inherited);
    estate
}

async fn take_over(
    process: &'static Process,
    mut predecessor: Option<Predecessor>,
    mut failures: mpsc::UnboundedReceiver<Failure>,
) -> Option<Predecessor> {
    let claimed = loop {
        tokio::select! {
            (claimed, removed) = process.servers.ready() => {
                for note in removed {
                    event!(
                        WARN, "inherited listener not claimed: it counts as removed",
                        address = note.local, requested = note.requested,
                        hint = "if it is to be served, and only later, call endless::hold_ready() first"
                    );
                }
                break claimed;
            }
            wish = next_wish(&mut predecessor) => match wish {
                Wish::End(reason) => end(&reason),
                Wish::Gone => predecessor = None,
                // Not ready yet, whatever it says.
                Wish::Go => {}
            },
            Some(Failure { reason, told }) = failures.recv() => {
                if let Some(predecessor) = &mut predecessor {
                    predecessor.report_failure(reason).await;
                }
                drop(told);
            }
        }
    };
    let mut waiting = predecessor?;
    pause::at(Point::Bound);
    waiting.report_ready(claimed).await;
    pause::at(Point::SaidReady);
    let wish = tokio::select! {
        biased;
        Some(Failure { reason, told }) = failures.recv() => {
            waiting.report_failure(reason).await;
            drop(told);
            // Main is about to end this process; until then it must not take over.
            pending().await
        }
        wish = waiting.wish() => wish,
    };
    match wish {
        Wish::Go => {
            pause::at(Point::HeardGo);
            waiting.confirm().await;
            pause::at(Point::Confirmed);
            Some(waiting)
        }
        Wish::End(reason) => end(&reason),
        Wish::Gone => None,
    }
}

/// Ends a successor that its predecessor does not want any more, or that cannot understand it.
fn end(reason: &str) -> ! {
    event!(WARN, "called off", pid = getpid(), reason = reason);
    log::flush();
    sys::exit_now(1)
}

async fn next_wish(predecessor: &mut Option<Predecessor>) -> Wish {
    match predecessor {
        Some(predecessor) => predecessor.wish().await,
        None => pending().await,
    }
}
