//! What operators ask of the supervisor by `endlessctl`.

use std::time::Instant;

use nix::unistd::getpid;

use super::Supervisor;
use super::attempt::Wanted;
use super::generation::{Generation, Role};
use crate::endlessctl::{Answer, Known, Request, Ticket, Told, Visit};
use crate::handover::message::Relayed;
use crate::log::event;
use crate::signal::Signal;

impl Supervisor {
    /// Hears some of those who have come: the others are heard after signals and generations.
    pub(super) fn attend(&mut self) {
        let Some(desk) = &mut self.desk else { return };
        let (visits, _) = desk.attend(Instant::now());
        visits.into_iter().for_each(|visit| self.on_visit(visit));
    }

    fn on_visit(&mut self, Visit { ticket, by, request }: Visit) {
        if request != Request::Status {
            event!(INFO, "asked by endlessctl", request = request, by = by.pid, uid = by.uid, pid = getpid());
        }
        let signal = |signal| Relayed::new(signal, Some(by));
        match request {
            Request::Status => self.answer(ticket, &Answer::Status(self.told())),
            Request::Restart => self.restart_wanted(Wanted::by_visitor(signal(Signal::Hangup), ticket)),
            Request::Stop => {
                self.answer(ticket, &Answer::Ending { pids: vec![std::process::id()] });
                self.stop_wanted(Signal::Terminate, signal(Signal::Terminate));
            }
            Request::Hammer => self.answer(ticket, &self.who_drains()),
        }
    }

    fn answer(&mut self, ticket: Ticket, answer: &Answer) {
        if let Some(desk) = &mut self.desk {
            desk.answer(ticket, answer);
        }
    }

    pub(super) fn answer_all(&mut self, tickets: Vec<Ticket>, answer: &Answer) {
        tickets.into_iter().for_each(|ticket| self.answer(ticket, answer));
    }

    /// The outcome of a restart that was one.
    pub(super) fn restarted(&self) -> Answer {
        match self.generations.iter().find(|generation| generation.role == Role::Serving) {
            Some(serving) => Answer::Restarted { generation: serving.number, pid: pid_of(serving) },
            None => Answer::refused("the successor has ended"),
        }
    }

    /// The hammer is each generation's own, and each knows whether it drains.
    fn who_drains(&self) -> Answer {
        let stops = self.stop.is_some();
        let may_drain = |generation: &&Generation| match generation.role {
            Role::Draining => true,
            Role::Serving => stops,
            Role::Starting => false,
        };
        let pids: Vec<u32> = self.generations.iter().filter(may_drain).map(pid_of).collect();
        if pids.is_empty() { Answer::refused("not draining") } else { Answer::Elsewhere { pids } }
    }

    fn told(&self) -> Told {
        let state = |role| match role {
            Role::Starting => "starting",
            Role::Serving => "serving",
            Role::Draining => "draining",
        };
        let known = |generation: &Generation| Known {
            pid: pid_of(generation),
            generation: generation.number,
            state: state(generation.role).to_owned(),
        };
        Told { generations: self.generations.iter().map(known).collect(), ..Told::default() }
    }
}

fn pid_of(generation: &Generation) -> u32 {
    generation.pid.as_raw().unsigned_abs()
}
