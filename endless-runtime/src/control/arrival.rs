//! Becoming the generation that serves.

use std::future::pending;
use std::os::fd::OwnedFd;

use nix::unistd::{Pid, getpid};
use tokio::sync::mpsc;

use super::Control;
use super::supervised::report;
use crate::bequest::BEQUESTS;
use crate::error::describe;
use crate::future::{BoxFuture, finished};
use crate::handover::arriving::{Arriving, Do, Estate, Happened};
use crate::handover::environment::Start;
use crate::handover::message::Message;
use crate::handover::starter::Starter;
use crate::listener::{ListenerNote, systemd};
use crate::log::{self, event};
use crate::pause::{self, Point};
use crate::pid_file;
use crate::process::{Failure, Process, Stage, enter};
use crate::secrets;
use crate::signal::hook::Moment;
use crate::signal::{Event, Signal};
use crate::sys;

/// A process that serves.
pub(super) struct Arrived {
    /// Who has started it, and is still there.
    starter: Option<Starter>,
    /// The PID of who served before.
    predecessor: Option<Pid>,
    /// What it has to tell a supervisor.
    outbox: mpsc::UnboundedReceiver<Message>,
    /// Over which the predecessor gives its connections.
    moving: Option<OwnedFd>,
}

impl Control {
    pub(super) fn on_arrival(&mut self, arrived: Arrived) {
        let Arrived { starter, predecessor, outbox, moving } = arrived;
        let (process, generation) = (self.process, self.process.generation());
        if let Some(path) = process.config.pid_file.as_ref().filter(|_| process.supervisor().is_none()) {
            pid_file::write(path);
        }
        let of = predecessor.map_or_else(|| "none".to_owned(), |pid| pid.to_string());
        match process.supervisor() {
            Some(supervisor) => event!(
                INFO,
                "serving",
                pid = getpid(),
                generation = generation,
                predecessor = of,
                supervisor = supervisor
            ),
            None => event!(INFO, "serving", pid = getpid(), generation = generation, predecessor = of),
        }
        if predecessor.is_some() {
            pause::at(Point::Serving);
        }
        self.take_over(moving);
        self.tell_serving(starter.is_some());
        match starter {
            Some(supervisor) if supervisor.is_supervisor() => self.listen_to(supervisor, outbox),
            starter => {
                self.predecessor = starter.map(|predecessor| -> BoxFuture<'static, _> {
                    Box::pin(predecessor.asks_for_a_restart())
                });
            }
        }
        let event = Event { signal: None, ..self.event(Signal::Hangup) };
        self.hooks.spawn(async move { process.hooks.run(Moment::Ready, &event).await });
        if let Some(wanted) = self.again.take() {
            self.begin_restart(wanted);
        }
    }
}

/// Becomes the generation that serves: receives what is handed over, waits until every server is bound, and
/// accepts once nobody else does.
///
/// What is to be done at each moment is [`Arriving`]'s to say; here it is done.
pub(super) async fn arrive(
    process: &'static Process,
    start: Option<Start>,
    mut failures: mpsc::UnboundedReceiver<Failure>,
    mut outbox: mpsc::UnboundedReceiver<Message>,
) -> Arrived {
    let mut starter = match start.map(Starter::meet) {
        Some(Ok(starter)) => Some(starter),
        Some(Err(error)) => end(&describe(&error)),
        None => None,
    };
    let supervised = starter.as_ref().is_some_and(Starter::is_supervisor);
    let mut predecessor = starter.as_ref().filter(|_| !supervised).map(Starter::pid);
    let is_started = starter.is_some();
    let mut moving = None;
    let mut arriving = Arriving::new(supervised);
    let mut servers: Option<BoxFuture<'static, _>> = Some(Box::pin(process.servers.ready()));
    // Who was started by the user is one whose predecessor has left it nothing.
    let mut first = (!is_started).then_some(Happened::Gone);
    if is_started {
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
                Some(message) = outbox.recv() => {
                    say(process, &mut starter, message).await;
                    continue;
                }
                happened = next(&mut starter) => happened,
                (claimed, removed) = finished(&mut servers) => {
                    say_what_is_removed(&removed);
                    Happened::Bound(claimed)
                }
            },
        };
        for action in arriving.on(happened) {
            match action {
                Do::Inherit(mut estate) => {
                    if !is_started {
                        estate.listeners = passed();
                    }
                    moving = estate.moving.take();
                    predecessor = predecessor.or(estate.predecessor.map(Pid::from_raw));
                    inherit(process, estate, is_started);
                }
                Do::Say(message) => say(process, &mut starter, message).await,
                Do::Serve => {
                    // Before anybody can ask.
                    enter(Stage::Serving);
                    process.servers.open();
                    say_what_is_not_taken(&BEQUESTS.give_up());
                    let starter = starter.filter(|_| arriving.has_starter());
                    let predecessor = predecessor.filter(|_| starter.is_some());
                    return Arrived { predecessor, starter, outbox, moving };
                }
                Do::End(reason) => end(&reason),
            }
        }
        if !arriving.has_starter() {
            (starter, predecessor) = (None, None);
        }
    }
}

fn inherit(process: &'static Process, estate: Estate, is_started: bool) {
    if is_started {
        pause::at(Point::Inherited);
        process.set_generation(estate.generation);
    }
    process.note_predecessors(estate.predecessors);
    secrets::inherit(estate.secrets);
    BEQUESTS.inherit(estate.bequests);
    process.servers.inherit(estate.listeners);
}

/// What systemd has passed to the first process of a service.
fn passed() -> Vec<(ListenerNote, OwnedFd)> {
    let error = match systemd::passed() {
        Ok(passed) => return passed,
        Err(error) => error,
    };
    event!(ERROR, "cannot take the sockets from systemd", reason = describe(&error));
    Vec::new()
}

fn say_what_is_removed(removed: &[ListenerNote]) {
    for note in removed {
        if let Some(name) = systemd::name_of(note) {
            event!(
                WARN,
                "socket from systemd not claimed: this service does not accept from it",
                name = name,
                address = note.local,
                hint = "to serve it, listen on systemd:NAME, once for each socket of the name"
            );
            continue;
        }
        event!(
            WARN,
            "inherited listener not claimed: it counts as removed",
            address = note.local,
            requested = note.requested,
            hint = "if it is to be served, and only later, call endless::hold_ready() first"
        );
    }
}

fn say_what_is_not_taken(names: &[String]) {
    for name in names {
        event!(
            WARN,
            "bequest not taken: it is closed",
            name = name,
            hint = "if it is wanted, call endless::inherited before the first server is awaited"
        );
    }
}

async fn say(process: &Process, starter: &mut Option<Starter>, message: Message) {
    let Some(starter) = starter else { return };
    let (before, after) = match message {
        Message::Ready(_) => (Some(Point::Bound), Some(Point::SaidReady)),
        Message::Confirmed => (Some(Point::HeardGo), Some(Point::Confirmed)),
        _ => (None, None),
    };
    before.into_iter().for_each(pause::at);
    if starter.is_supervisor() && matches!(message, Message::Ready(_)) {
        // It keeps copies of the listeners of whoever serves.
        if let Err(error) = starter.queue_report(report(process), &process.servers.heirlooms()) {
            end(&describe(&error));
        }
    }
    starter.say(message).await;
    after.into_iter().for_each(pause::at);
}

/// Ends a generation that is not wanted any more, or that cannot understand who started it.
fn end(reason: &str) -> ! {
    event!(WARN, "called off", pid = getpid(), reason = reason);
    log::flush();
    sys::exit_now(1)
}

async fn next(starter: &mut Option<Starter>) -> Happened {
    match starter {
        Some(starter) => starter.next().await,
        None => pending().await,
    }
}
