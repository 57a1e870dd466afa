//! What operators ask of this process by `endlessctl`.

use std::future::pending;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use nix::unistd::getpid;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep_until;

use super::Control;
use super::restart::Reply;
use super::stop::Life;
use crate::api;
use crate::endlessctl::{Answer, Desk, Known, Request, Ticket, Told, Visit};
use crate::error::{Result, describe};
use crate::log::event;
use crate::signal::{Event, Sender, Signal};
use crate::sys;

/// How often in a row this process looks who has come: they may come faster than they are let in.
const LOOKS: usize = 64;

/// Opens where this process is asked. Needs the runtime that will look after it.
pub(super) fn open_desk() -> Option<AsyncFd<Desk>> {
    let watched = Desk::open().map(sys::watched_desk)?;
    if let Err(error) = &watched {
        event!(WARN, "endlessctl cannot ask this process", pid = getpid(), error = describe(error));
    }
    watched.ok()
}

/// What is asked next; sometimes nothing. Cancel safe.
pub(super) async fn visited(desk: &mut Option<AsyncFd<Desk>>) -> Vec<Visit> {
    let Some(desk) = desk else { return pending().await };
    let deadline = desk.get_ref().deadline();
    tokio::select! {
        ready = desk.readable_mut() => {
            // The runtime goes on for as long as the process does.
            let Ok(mut ready) = ready else { return pending().await };
            let (visits, may_be_more) = ready.get_inner_mut().attend(Instant::now());
            if !may_be_more {
                ready.clear_ready();
            }
            return visits;
        }
        () = late(deadline) => {}
    }
    desk.get_mut().attend(Instant::now()).0
}

async fn late(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

impl Control {
    pub(super) fn on_visits(&mut self, visits: Vec<Visit>) {
        visits.into_iter().for_each(|visit| self.on_visit(visit));
    }

    /// Hears whoever has come by now.
    pub(super) fn attend(&mut self) {
        for _ in 0..LOOKS {
            let Some(desk) = &mut self.desk else { return };
            let (visits, may_be_more) = desk.get_mut().attend(Instant::now());
            self.on_visits(visits);
            if !may_be_more {
                return;
            }
        }
    }

    fn on_visit(&mut self, Visit { ticket, by, request }: Visit) {
        if request != Request::Status {
            event!(INFO, "asked by endlessctl", request = request, by = by.pid, uid = by.uid, pid = getpid());
        }
        match (request, self.whose_it_is()) {
            (Request::Status, _) => self.answer(ticket, &Answer::Status(self.told())),
            (_, Some(supervisor)) => self.answer(ticket, &Answer::Elsewhere { pids: vec![supervisor] }),
            (Request::Restart, None) => {
                self.restart_wanted(self.event_by(Signal::Hangup, by), vec![Reply::Visitor(ticket)]);
            }
            (Request::Stop, None) => {
                self.answer(ticket, &Answer::Ending { pids: self.all_that_end() });
                self.stop(self.event_by(Signal::Terminate, by));
            }
            (Request::Hammer, None) => self.on_hammer_asked(ticket, by),
        }
    }

    /// Who acts on it, if it is not this process. As for signals, one that was replaced acts for itself.
    fn whose_it_is(&self) -> Option<u32> {
        let is_replaced = self.process.succeeded.load(Relaxed);
        self.supervisor().filter(|_| !is_replaced).and_then(|_| self.supervisor_pid())
    }

    fn supervisor_pid(&self) -> Option<u32> {
        let pid = self.process.supervisor().filter(|_| self.supervised.is_some());
        pid.map(|pid| pid.as_raw().unsigned_abs())
    }

    fn on_hammer_asked(&mut self, ticket: Ticket, by: Sender) {
        match self.life {
            Life::Draining | Life::Drained => {
                self.answer(ticket, &Answer::Ending { pids: vec![std::process::id()] });
                self.hammer_wanted(self.event_by(Signal::User2, by));
            }
            Life::Going | Life::Stopping => self.answer(ticket, &Answer::refused("not draining")),
        }
    }

    fn event_by(&self, signal: Signal, by: Sender) -> Event {
        Event { sender: Some(by), ..self.event(signal) }
    }

    fn answer(&mut self, ticket: Ticket, answer: &Answer) {
        if let Some(desk) = &mut self.desk {
            desk.get_mut().answer(ticket, answer);
        }
    }

    /// Tells everybody who waits for the outcome of a restart.
    pub(super) fn reply(&mut self, replies: Vec<Reply>, answer: impl Fn() -> Result<u32>) {
        for reply in replies {
            match reply {
                // Whoever asked may not wait for the answer.
                Reply::Task(task) => drop(task.send(answer())),
                Reply::Visitor(ticket) => {
                    let generation = self.process.generation() + 1;
                    let answer = match answer() {
                        Ok(pid) => Answer::Restarted { generation, pid },
                        Err(error) => Answer::refused(error.to_string()),
                    };
                    self.answer(ticket, &answer);
                }
            }
        }
    }

    /// The sockets of visitors whom the successor answers.
    pub(super) fn hand_out(&mut self, visitors: Vec<Reply>) -> Vec<OwnedFd> {
        let tickets = visitors.into_iter().filter_map(|reply| match reply {
            Reply::Visitor(ticket) => Some(ticket),
            Reply::Task(_) => None,
        });
        self.desk.as_mut().map(|desk| desk.get_mut().hand_out(tickets.collect())).unwrap_or_default()
    }

    /// The predecessor was asked for a restart, and these wait for its outcome.
    pub(super) fn restart_passed_on(&mut self, waiting: Vec<OwnedFd>) {
        let adopted = self.desk.as_mut().map(|desk| desk.get_mut().adopt(waiting)).unwrap_or_default();
        let event = Event { sender: adopted.first().map(|(_, by)| *by), ..self.event(Signal::Hangup) };
        let replies = adopted.into_iter().map(|(ticket, _)| Reply::Visitor(ticket)).collect();
        self.restart_wanted(event, replies);
    }

    /// What has ended when this service has.
    fn all_that_end(&self) -> Vec<u32> {
        let others = if self.life == Life::Going { self.others() } else { Vec::new() };
        others.into_iter().map(|other| other.pid).chain([std::process::id()]).collect()
    }

    fn told(&self) -> Told {
        Told {
            supervisor: self.supervisor_pid(),
            itself: serde_json::to_value(api::status()).ok(),
            generations: self.others(),
        }
    }

    /// The generations that this one knows of.
    fn others(&self) -> Vec<Known> {
        let generation = self.process.generation();
        let state = if self.arrival.is_some() { "serving" } else { "draining" };
        let known = |pid, generation, state: &str| Known { pid, generation, state: state.to_owned() };
        let predecessors = self.process.predecessors().into_iter();
        let predecessors = predecessors.map(|kin| known(kin.pid, kin.generation, state));
        let starting = u32::try_from(self.process.starting.load(Relaxed)).ok().filter(|pid| *pid != 0);
        predecessors.chain(starting.map(|pid| known(pid, generation + 1, "starting"))).collect()
    }
}
