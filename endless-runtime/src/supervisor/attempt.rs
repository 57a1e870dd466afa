//! How one generation replaces another: what [`Replacing`] says, done by a third party.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpid};

use super::generation::{Generation, Heard, Role};
use super::program::Program;
use super::{Supervisor, status_of};
use crate::endlessctl::{Answer, Ticket};
use crate::error::{Error, describe};
use crate::handover::giving;
use crate::handover::message::{Asked, Hello, Inheritors, Message, Reason, Refused, Relayed, Turn};
use crate::handover::process::End;
use crate::handover::replacing::{ANSWER_TIME, Do, Happened, Replacing};
use crate::listener::ListenerNote;
use crate::log::event;
use crate::pause::{self, Point};
use crate::pid_file;
use crate::signal::Signal;

/// A generation on its way to serving, from the wish on.
pub(super) struct Attempt {
    cause: Cause,
    phase: Phase,
    deadline: Option<Instant>,
    /// Who waits for its outcome.
    visitors: Vec<Ticket>,
}

/// A restart that somebody asked for.
pub(super) struct Wanted {
    signal: Relayed,
    /// Who waits for its outcome.
    pub(super) visitors: Vec<Ticket>,
}

impl Wanted {
    /// By one who does not wait.
    pub(super) fn by(signal: Relayed) -> Self {
        Self { signal, visitors: Vec::new() }
    }

    pub(super) fn by_visitor(signal: Relayed, visitor: Ticket) -> Self {
        Self { signal, visitors: vec![visitor] }
    }
}

/// Why there is to be another generation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// There is none.
    First,
    Restart,
    /// The one that served has ended by itself.
    Death,
}

enum Phase {
    /// The hooks of who serves are asked.
    Asking,
    /// One that died is not replaced in haste.
    Waiting,
    Replacing {
        replacing: Replacing,
        /// Which of its states the deadline is for.
        state: u32,
        /// The listeners that were handed over, in their order.
        handed_over: Vec<ListenerNote>,
        /// The successor, and how it has ended.
        end: Option<(Pid, End)>,
        /// What it runs, as it was when it was ready: it may die at any moment.
        program: Program,
        /// The predecessor's end of the channel over which connections move.
        moving: Option<OwnedFd>,
    },
}

impl Attempt {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl Supervisor {
    pub(super) fn start_first(&mut self) {
        self.start_successor(Cause::First);
    }

    /// Restarts now, or with the attempt that is under way, or after it.
    pub(super) fn restart_wanted(&mut self, wanted: Wanted) {
        match &mut self.attempt {
            _ if self.stop.is_some() || self.status.is_some() => {
                event!(WARN, "restart ignored: draining", pid = getpid());
                let reason = Error::draining("restart").to_string();
                self.answer_all(wanted.visitors, &Answer::refused(reason));
            }
            Some(Attempt { cause: Cause::Restart, phase: Phase::Asking, visitors, .. }) => {
                visitors.extend(wanted.visitors);
            }
            Some(_) => {
                event!(INFO, "restart remembered", pid = getpid());
                let before = self.again.take().map(|again| again.visitors).unwrap_or_default();
                let visitors = before.into_iter().chain(wanted.visitors).collect();
                self.again = Some(Wanted { visitors, ..wanted });
            }
            None => self.begin_restart(wanted),
        }
    }

    fn begin_restart(&mut self, Wanted { signal, visitors }: Wanted) {
        self.attempts += 1;
        pause::at(Point::Asked);
        let asked =
            Asked { attempt: self.attempts, signal, program: self.launch.program().display().to_string() };
        let deadline = Instant::now().checked_add(self.report.hooks_timeout.saturating_add(ANSWER_TIME));
        self.attempt = Some(Attempt { cause: Cause::Restart, phase: Phase::Asking, deadline, visitors });
        self.tell_restarting();
        match self.serving() {
            Some(serving) => serving.say(Message::Ask(asked)),
            None => self.start_successor(Cause::Restart),
        }
    }

    /// The generation that served is not there any more, and nobody wanted that.
    pub(super) fn replace_dead(&mut self, dead: &Dead) {
        let (now, pid) = (Instant::now(), dead.pid());
        match self.deaths.delay(now, self.report.respawn) {
            Some(delay) => {
                event!(ERROR, "the generation has ended: replacing it", pid = pid, how = dead.how);
                self.tell_replacing(&dead.how);
                let deadline = Some(now + delay);
                let (cause, visitors) = (Cause::Death, Vec::new());
                self.attempt = Some(Attempt { cause, phase: Phase::Waiting, deadline, visitors });
            }
            None => {
                event!(ERROR, "the generation has ended: giving up", pid = pid, how = dead.how);
                self.give_up(dead.status);
            }
        }
    }

    fn start_successor(&mut self, cause: Cause) {
        pause::at(Point::Agreed);
        let ready_timeout = match cause {
            // Nobody has said yet how long it may take.
            Cause::First => Duration::MAX,
            Cause::Restart | Cause::Death => self.report.ready_timeout,
        };
        let blocked: Vec<Signal> = Signal::ALL.into_iter().filter(|signal| self.is_hooked(*signal)).collect();
        let hello = Hello {
            generation: self.served.unwrap_or(0),
            first: self.served.is_none(),
            predecessor: self.serving().map(|serving| serving.pid.as_raw()),
            predecessors: self.generations.iter().filter_map(Generation::kin).collect(),
            ..Hello::default()
        };
        let (moving, far) = self.moving_channel().unzip();
        let program = match cause {
            Cause::Death => &self.program,
            Cause::First | Cause::Restart => &Program::OfPath,
        };
        let started = Generation::start(&self.launch, program, &blocked, hello, &self.stock, far);
        let replacing = Replacing::new(ready_timeout);
        let (state, time) = replacing.time();
        let handed_over = self.stock.listeners.iter().map(|(note, _)| note.clone()).collect();
        let program = Program::OfPath;
        let phase = Phase::Replacing { replacing, state, handed_over, end: None, program, moving };
        let deadline = time.and_then(|time| Instant::now().checked_add(time));
        let visitors = self.attempt.take().map(|attempt| attempt.visitors).unwrap_or_default();
        self.attempt = Some(Attempt { cause, phase, deadline, visitors });
        match started {
            Ok(generation) => self.generations.push(generation),
            Err(reason) => self.finish(Err(reason)),
        }
    }

    /// Both ends of one, where there is a predecessor. Without it, connections drain as in a stop.
    fn moving_channel(&mut self) -> Option<(OwnedFd, OwnedFd)> {
        self.serving()?;
        giving::pair()
            .inspect_err(|error| {
                event!(WARN, "connections cannot be moved", pid = getpid(), error = describe(error));
            })
            .ok()
    }

    pub(super) fn on_time_of_attempt(&mut self, now: Instant) {
        let Some(attempt) =
            self.attempt.as_mut().filter(|attempt| attempt.deadline.is_some_and(|at| at <= now))
        else {
            return;
        };
        attempt.deadline = None;
        match attempt.phase {
            Phase::Asking => {
                event!(WARN, "the hooks do not answer: restarting without them", pid = getpid());
                self.start_successor(Cause::Restart);
            }
            Phase::Waiting => self.start_successor(Cause::Death),
            Phase::Replacing { .. } => self.happened(Happened::TimeOut),
        }
    }

    /// Whoever is starting is not wanted any more.
    pub(super) fn call_off(&mut self, reason: String) {
        match self.attempt.as_ref().map(|attempt| &attempt.phase) {
            Some(Phase::Asking | Phase::Waiting) => self.finish(Err(reason)),
            Some(Phase::Replacing { .. }) => self.happened(Happened::CalledOff(reason)),
            None => {}
        }
    }

    pub(super) fn on_heard_of_successor(&mut self, heard: Heard) {
        let happened = match heard {
            Heard::Said(Message::Confirmed) => {
                pause::at(Point::HeardConfirmed);
                // One that has died already serves nobody, and its end is what counts.
                if self.successor().is_some_and(|successor| has_died(successor.pid)) {
                    return;
                }
                Happened::Said(Message::Confirmed)
            }
            Heard::Said(message) => Happened::Said(message),
            Heard::Closed => Happened::Closed,
            Heard::Broken(reason) => Happened::Broken(reason),
            Heard::Relisted => return,
        };
        self.happened(happened);
    }

    pub(super) fn on_heard_of_predecessor(&mut self, message: Message) {
        let Some(Attempt { phase, .. }) = &self.attempt else { return };
        let now = self.attempts;
        match (phase, message) {
            (Phase::Asking, Message::Agreed(Turn { attempt })) if attempt == now => {
                self.start_successor(Cause::Restart);
            }
            (Phase::Asking, Message::Refused(Refused { attempt, reason })) if attempt == now => {
                self.finish(Err(reason));
            }
            (Phase::Replacing { .. }, Message::Paused(Turn { attempt })) if attempt == now => {
                self.happened(Happened::Paused);
            }
            _ => {}
        }
    }

    pub(super) fn on_end_of_successor(&mut self, pid: Pid, how: End) {
        if let Some(Attempt { phase: Phase::Replacing { end, .. }, .. }) = &mut self.attempt {
            *end = Some((pid, how));
        }
        self.happened(Happened::Ended(how));
    }

    pub(super) fn on_predecessor_gone(&mut self) {
        match self.attempt.as_ref().map(|attempt| &attempt.phase) {
            // Its hooks cannot be asked any more.
            Some(Phase::Asking) => self.start_successor(Cause::Restart),
            Some(Phase::Replacing { .. }) => self.happened(Happened::Paused),
            Some(Phase::Waiting) | None => {}
        }
    }

    fn happened(&mut self, happened: Happened) {
        let mut all = VecDeque::from([happened]);
        while let Some(happened) = all.pop_front() {
            let Some(Attempt { phase: Phase::Replacing { replacing, .. }, .. }) = &mut self.attempt else {
                return;
            };
            for action in replacing.on(happened) {
                all.extend(self.carry_out(action));
            }
        }
        self.wind_clock();
    }

    /// Each state of an attempt has a time of its own.
    fn wind_clock(&mut self) {
        let Some(attempt) = &mut self.attempt else { return };
        let Phase::Replacing { replacing, state, .. } = &mut attempt.phase else { return };
        let (now, time) = replacing.time();
        if std::mem::replace(state, now) != now {
            attempt.deadline = time.and_then(|time| Instant::now().checked_add(time));
        }
    }

    /// Returns what happens by itself then.
    fn carry_out(&mut self, action: Do) -> Option<Happened> {
        let turn = Turn { attempt: self.attempts };
        match action {
            Do::Pause => {
                self.hold_program();
                pause::at(Point::HeardReady);
                match self.serving() {
                    Some(serving) => serving.say(Message::Pause(turn)),
                    // Nobody accepts.
                    None => return Some(Happened::Paused),
                }
            }
            Do::Oust => {
                event!(
                    ERROR,
                    "the generation that served does not stop accepting: it is ended",
                    pid = getpid()
                );
                match self.serving() {
                    Some(serving) => serving.kill(),
                    None => return Some(Happened::Paused),
                }
            }
            Do::Go => {
                pause::at(Point::Paused);
                self.say_to_successor(Message::Go);
                pause::at(Point::SaidGo);
            }
            Do::Reopen => self.serving().into_iter().for_each(|serving| serving.say(Message::Resume)),
            Do::LetGo(claimed) => self.let_go(&claimed),
            Do::CallOff(reason) => {
                pause::at(Point::CallingOff);
                self.say_to_successor(Message::CallOff(Reason { reason }));
            }
            Do::Kill => self.successor().into_iter().for_each(|successor| successor.kill()),
            Do::Finish(result) => self.finish(result),
        }
        None
    }

    fn hold_program(&mut self) {
        let held = self.successor().map(|successor| Program::of(successor.pid, successor.file));
        if let (Some(Attempt { phase: Phase::Replacing { program, .. }, .. }), Some(held)) =
            (&mut self.attempt, held)
        {
            *program = held;
        }
    }

    fn say_to_successor(&mut self, message: Message) {
        if let Some(successor) = self.successor() {
            successor.say(message);
        }
    }

    /// The successor accepts: it is the one that serves.
    fn let_go(&mut self, claimed: &[usize]) {
        let Some(Attempt { phase: Phase::Replacing { handed_over, program, moving, .. }, .. }) =
            &mut self.attempt
        else {
            return;
        };
        let moving = moving.take();
        let claimed = claimed.iter().filter_map(|place| handed_over.get(*place)).cloned().collect();
        self.program = std::mem::replace(program, Program::OfPath);
        let Some(pid) = self.successor().map(|successor| successor.pid) else { return };
        if let Some(serving) = self.serving() {
            let inheritors = Inheritors { successor: pid.as_raw().unsigned_abs(), claimed };
            moving.into_iter().for_each(|channel| serving.say(Message::MovingChannel(channel)));
            serving.say(Message::LetGo(inheritors));
            serving.role = Role::Draining;
        }
        pause::at(Point::LetGo);
        self.successor().into_iter().for_each(|successor| successor.role = Role::Serving);
        self.served = Some(self.served.map_or(0, |generation| generation + 1));
        self.take_stock(pid);
        self.write_pid_file();
        self.tell_serving();
    }

    fn write_pid_file(&mut self) {
        if self.pid_file == self.report.pid_file {
            return;
        }
        if let Some(path) = &self.pid_file {
            pid_file::remove(path, getpid());
        }
        self.pid_file.clone_from(&self.report.pid_file);
        if let Some(path) = &self.pid_file {
            pid_file::write(path);
        }
    }

    fn finish(&mut self, result: Result<(), String>) {
        let Some(mut attempt) = self.attempt.take() else { return };
        let visitors = std::mem::take(&mut attempt.visitors);
        match result {
            Ok(()) => self.answer_all(visitors, &self.restarted()),
            Err(reason) => {
                self.answer_all(visitors, &Answer::refused(&*reason));
                self.on_failure(attempt, reason);
            }
        }
        self.stop_if_nothing_is_under_way();
        // One that has died is replaced first; and who has given up restarts nothing.
        if self.attempt.is_none()
            && self.status.is_none()
            && let Some(wanted) = self.again.take()
        {
            self.begin_restart(wanted);
        }
    }

    fn on_failure(&mut self, attempt: Attempt, reason: String) {
        let end = match attempt.phase {
            Phase::Replacing { end, .. } => end,
            Phase::Asking | Phase::Waiting => None,
        };
        self.tell_not_restarted(&reason);
        if let Some(serving) = self.serving() {
            return serving.say(Message::NotRestarted(Reason { reason }));
        }
        match (attempt.cause, end) {
            _ if self.stop.is_some() => {}
            (Cause::First, Some((_, End::Exited(status)))) => {
                // It has said why.
                self.give_up(status_of(End::Exited(status)));
            }
            (Cause::First, end) => {
                event!(ERROR, "the first generation does not serve", reason = reason);
                self.give_up(end.map_or(1, |(_, end)| status_of(end)));
            }
            (Cause::Death, Some((_, End::Exited(2)))) => self.give_up(2),
            (cause, end) => {
                if cause == Cause::Restart {
                    event!(WARN, "restart called off", pid = getpid(), reason = reason);
                }
                self.replace_dead(
                    &end.map_or_else(|| Dead::unborn(reason), |(pid, end)| Dead::unready(pid, end)),
                );
            }
        }
    }
}

/// A generation that nobody wanted to end.
pub(super) struct Dead {
    /// Unless it could not even be started.
    pid: Option<Pid>,
    how: String,
    status: u8,
}

impl Dead {
    pub(super) fn of(pid: Pid, end: End) -> Self {
        Self { pid: Some(pid), how: end.to_string(), status: status_of(end) }
    }

    /// One that never served has not ended well, whatever it says.
    fn unready(pid: Pid, end: End) -> Self {
        Self { status: status_of(end).max(1), ..Self::of(pid, end) }
    }

    fn unborn(reason: String) -> Self {
        Self { pid: None, how: reason, status: 1 }
    }

    fn pid(&self) -> String {
        self.pid.map_or_else(|| "none".to_owned(), |pid| pid.to_string())
    }
}

/// Whether it has ended, and is not reaped; not one that was stopped, and with it the service.
fn has_died(pid: Pid) -> bool {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(waitid(Id::Pid(pid), look), Ok(WaitStatus::StillAlive | WaitStatus::Exited(_, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_is_given_up_has_not_ended_well() {
        let pid = Pid::from_raw(7);
        assert_eq!(Dead::unready(pid, End::Exited(0)).status, 1);
        assert_eq!(Dead::unready(pid, End::Exited(3)).status, 3);
        assert_eq!(Dead::unborn("no such file".to_owned()).status, 1);
    }
}
