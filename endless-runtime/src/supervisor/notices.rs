//! What a supervisor, as the main process of its service, tells the service manager; and whether whoever
//! serves is still alive, which only its own runtime can say.

use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::Supervisor;
use super::generation::Role;
use crate::handover::message::Message;
use crate::manager::{self, EXTENSION_INTERVAL, Notice, RETRY_INTERVAL};

/// What is told again and again.
#[derive(Debug)]
pub(super) struct Pulse {
    interval: Option<Duration>,
    /// When it is asked next who serves.
    next_ping: Option<Instant>,
    /// Who has not answered yet.
    asked: Option<Pid>,
    /// When the manager is asked next for more time.
    next_extension: Option<Instant>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        let interval = manager::watchdog_interval();
        let next_ping = interval.map(|_| Instant::now());
        Self { interval, next_ping, asked: None, next_extension: None }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let retry = manager::is_behind().then(|| Instant::now() + RETRY_INTERVAL);
        [self.next_ping, self.next_extension, retry].into_iter().flatten().min()
    }
}

impl Supervisor {
    pub(super) fn tell_serving(&mut self) {
        // The predecessor may owe an answer, which does not count any more.
        self.pulse.next_ping = self.pulse.interval.map(|_| Instant::now());
        self.tell_of_serving(|generation, pid| Notice::Serving { generation, pid });
    }

    pub(super) fn tell_restarting(&mut self) {
        self.tell_of_serving(|generation, pid| Notice::Restarting { generation, pid });
    }

    pub(super) fn tell_not_restarted(&mut self, reason: &str) {
        self.tell_of_serving(|generation, pid| Notice::NotRestarted { generation, pid, reason });
    }

    pub(super) fn tell_replacing(&self, how: &str) {
        if let Some(generation) = self.served {
            manager::tell(Notice::Replacing { generation, how });
        }
    }

    /// A manager that was told of the stop does not believe in anything else.
    fn tell_of_serving<'a>(&mut self, notice: impl FnOnce(u64, i32) -> Notice<'a>) {
        if self.stop.is_some() || self.status.is_some() {
            return;
        }
        let pid = self.serving().map(|serving| serving.pid.as_raw());
        if let (Some(generation), Some(pid)) = (self.served, pid) {
            manager::tell(notice(generation, pid));
        }
    }

    pub(super) fn tell_stopping(&mut self) {
        if self.pulse.next_extension.is_none() && manager::is_there() {
            self.pulse.next_extension = Some(Instant::now() + EXTENSION_INTERVAL);
            manager::tell(Notice::Stopping);
        }
    }

    pub(super) fn on_time_of_pulse(&mut self, now: Instant) {
        manager::catch_up();
        if self.pulse.next_extension.is_some_and(|at| at <= now) {
            self.pulse.next_extension = Some(now + EXTENSION_INTERVAL);
            manager::tell(Notice::StillStopping);
        }
        if self.pulse.next_ping.is_some_and(|at| at <= now) {
            self.pulse.next_ping = self.pulse.interval.map(|interval| now + interval);
            self.ping();
        }
    }

    /// One that has not answered is not asked again: its channel would fill.
    fn ping(&mut self) {
        let (asked, answers) = (self.pulse.asked, self.report.answers_pings);
        let Some(serving) = self.serving().filter(|serving| asked != Some(serving.pid)) else { return };
        if !answers {
            // An older build, of which nothing is known.
            return manager::tell(Notice::Alive);
        }
        let pid = serving.pid;
        serving.say(Message::Ping);
        self.pulse.asked = Some(pid);
    }

    pub(super) fn on_pong(&mut self, pid: Pid) {
        let is_serving = self.generation(pid).is_some_and(|generation| generation.role == Role::Serving);
        if self.pulse.asked.take_if(|asked| *asked == pid).is_some() && is_serving {
            manager::tell(Notice::Alive);
        }
    }
}
