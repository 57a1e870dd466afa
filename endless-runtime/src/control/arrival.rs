//! Becoming the generation that serves.

use std::future::pending;

use nix::unistd::getpid;
use tokio::sync::mpsc;

use super::Control;
use crate::error::describe;
use crate::future::{BoxFuture, finished};
use crate::handover::arriving::{Arriving, Do, Estate, Happened};
use crate::handover::environment::FromPredecessor;
use crate::handover::message::Message;
use crate::handover::predecessor::Predecessor;
use crate::listener::ListenerNote;
use crate::log::{self, event};
use crate::pause::{self, Point};
use crate::pid_file;
use crate::process::{Failure, Process, Stage, enter};
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
        self.predecessor = predecessor
            .map(|predecessor| -> BoxFuture<'static, ()> { Box::pin(predecessor.asks_for_a_restart()) });
        let (process, event) = (self.process, Event { signal: None, ..self.event(Signal::Hangup) });
        self.hooks.spawn(async move { process.hooks.run(Moment::Ready, &event).await });
        if let Some(wanted) = self.again.take() {
            self.begin_restart(wanted);
        }
    }
}

/// Becomes the generation that serves: receives what a predecessor hands over, waits until every server is
/// bound, and accepts once nobody else does. Returns the predecessor that is still there.
///
/// What is to be done at each moment is [`Arriving`]'s to say; here it is done.
pub(super) async fn arrive(
    process: &'static Process,
    from: Option<FromPredecessor>,
    mut failures: mpsc::UnboundedReceiver<Failure>,
) -> Option<Predecessor> {
    let mut predecessor = match from.map(Predecessor::meet) {
        Some(Ok(predecessor)) => Some(predecessor),
        Some(Err(error)) => end(&describe(&error)),
        None => None,
    };
    let is_successor = predecessor.is_some();
    let mut arriving = Arriving::new();
    let mut servers: Option<BoxFuture<'static, _>> = Some(Box::pin(process.servers.ready()));
    // The first generation is one whose predecessor has left it nothing.
    let mut first = (!is_successor).then_some(Happened::Gone);
    if is_successor {
        pause::at(Point::Met);
    }
    loop {
        // Dropped when its failure is told.
        let mut _told = None;
        let happened = match first.take() {
            Some(happened) => happened,
            None => tokio::select! {
                biased;
                Some(Failure { reason, told }) = failures.recv() => {
                    _told = Some(told);
                    Happened::Failed(reason)
                }
                happened = next(&mut predecessor) => happened,
                (claimed, removed) = finished(&mut servers) => {
                    say_what_is_removed(&removed);
                    Happened::Bound(claimed)
                }
            },
        };
        for action in arriving.on(happened) {
            match action {
                Do::Inherit(estate) => inherit(process, estate, is_successor),
                Do::Say(message) => say(&mut predecessor, message).await,
                Do::Serve => {
                    process.servers.open();
                    enter(Stage::Serving);
                    return predecessor.filter(|_| arriving.has_predecessor());
                }
                Do::End(reason) => end(&reason),
            }
        }
        if !arriving.has_predecessor() {
            predecessor = None;
        }
    }
}

fn inherit(process: &'static Process, estate: Estate, is_successor: bool) {
    if is_successor {
        pause::at(Point::Inherited);
        process.set_generation(estate.generation.saturating_add(1));
    }
    process.servers.inherit(estate.listeners);
}

fn say_what_is_removed(removed: &[ListenerNote]) {
    for note in removed {
        event!(
            WARN,
            "inherited listener not claimed: it counts as removed",
            address = note.local,
            requested = note.requested,
            hint = "if it is to be served, and only later, call endless::hold_ready() first"
        );
    }
}

async fn say(predecessor: &mut Option<Predecessor>, message: Message) {
    let Some(predecessor) = predecessor else { return };
    let (before, after) = match message {
        Message::Ready(_) => (Some(Point::Bound), Some(Point::SaidReady)),
        Message::Confirmed => (Some(Point::HeardGo), Some(Point::Confirmed)),
        _ => (None, None),
    };
    before.into_iter().for_each(pause::at);
    predecessor.say(message).await;
    after.into_iter().for_each(pause::at);
}

/// Ends a successor that its predecessor does not want any more, or that cannot understand it.
fn end(reason: &str) -> ! {
    event!(WARN, "called off", pid = getpid(), reason = reason);
    log::flush();
    sys::exit_now(1)
}

async fn next(predecessor: &mut Option<Predecessor>) -> Happened {
    match predecessor {
        Some(predecessor) => predecessor.next().await,
        None => pending().await,
    }
}
