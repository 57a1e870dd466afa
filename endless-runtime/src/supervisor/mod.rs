//! The supervisor: the process with the PID that stays. It starts generations, keeps copies of their
//! listeners, passes signals on, and serves nothing itself.
//!
//! It has one thread, no runtime, and runs no function of the user's. All that it does is an answer to
//! something that has come: a signal, a message, the end of a process, the end of a time. Here are its state
//! and its loop; how one generation replaces another is in `attempt`.

mod attempt;
mod deaths;
mod echoes;
mod generation;
mod notices;
mod program;
mod signals;
mod succession;
mod visitors;

use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

use crate::config::Config;
use crate::control::act_by_default;
use crate::endlessctl::{Answer, Desk};
use crate::handover::launch::Launch;
use crate::handover::message::{Message, Relayed, Report};
use crate::handover::process::End;
use crate::handover::supervisor_version;
use crate::listener::systemd;
use crate::log::event;
use crate::pid_file;
use crate::signal::{Judge, Received, Signal, ignored_now};
use attempt::{Attempt, Dead, Wanted};
use deaths::Deaths;
use echoes::Echoes;
use generation::{Generation, Heard, Role, Stock};
use notices::Pulse;
use program::Program;
use signals::Signals;
use succession::Found;

/// Is the supervisor of this program until all is over; returns the exit status.
///
/// # Errors
///
/// If the machine is out of descriptors, or does not say what this process runs.
pub(crate) fn supervise(config: &Config) -> io::Result<u8> {
    crate::log::never_wait();
    let ignored = ignored_now();
    // The option names what succeeds this program, and not this program itself.
    let itself = Launch::of_this_process(None, ignored.clone())?;
    let next = Launch::of_this_process(config.program.as_deref(), ignored.clone())?;
    let mut supervisor = Supervisor::new(itself, Signals::catch(Judge::new(ignored))?);
    supervisor.stock.listeners = systemd::passed()?;
    supervisor.desk = Desk::open();
    supervisor.start_first();
    supervisor.launch = next;
    Ok(supervisor.live())
}

/// Goes on as a supervisor, if this process was one before it became this build, or says whether it could;
/// returns the exit status.
///
/// # Errors
///
/// If it cannot: its generations will notice that it is gone.
pub(crate) fn resume() -> io::Result<Option<u8>> {
    let found = succession::find()?;
    Ok(found.map(|found| match found {
        Found::Rehearsed => 0,
        Found::Itself(supervisor) => {
            crate::log::never_wait();
            crate::name::restore();
            supervisor.live()
        }
    }))
}

struct Supervisor {
    /// The newest version that it knows of.
    version: u32,
    launch: Launch,
    /// What became ready.
    program: Program,
    signals: Signals,
    /// Those that live.
    generations: Vec<Generation>,
    /// The number of the generation that serves or served last.
    served: Option<u64>,
    /// What that one has to leave.
    stock: Stock,
    /// What that one says of itself.
    report: Report,
    attempt: Option<Attempt>,
    /// How many there were.
    attempts: u64,
    deaths: Deaths,
    echoes: Echoes,
    /// A restart that was asked for while another was under way: one more, however often.
    again: Option<Wanted>,
    /// Where operators ask.
    desk: Option<Desk>,
    /// Once a stop is asked for.
    stop: Option<Stop>,
    /// The one that names this process.
    pid_file: Option<PathBuf>,
    pulse: Pulse,
    /// How this process ends, when everybody else has.
    status: Option<u8>,
}

/// A stop that was asked for.
#[derive(Default)]
struct Stop {
    /// What the generation that serves has not been told: while it is being replaced it is not clear who.
    signals: Vec<Relayed>,
    interrupts: u32,
}

impl Supervisor {
    fn new(launch: Launch, signals: Signals) -> Self {
        Self {
            version: supervisor_version(),
            launch,
            program: Program::OfPath,
            signals,
            generations: Vec::new(),
            served: None,
            stock: Stock::default(),
            report: Report::default(),
            attempt: None,
            attempts: 0,
            deaths: Deaths::default(),
            echoes: Echoes::default(),
            again: None,
            desk: None,
            stop: None,
            pid_file: None,
            pulse: Pulse::new(),
            status: None,
        }
    }

    fn live(mut self) -> u8 {
        loop {
            self.reap();
            self.on_time(Instant::now());
            self.become_newer();
            if let Some(status) = self.status.filter(|_| self.generations.is_empty()) {
                if let Some(path) = &self.pid_file {
                    pid_file::remove(path, getpid());
                }
                return status;
            }
            let talkative = self.wait();
            for received in self.signals.received() {
                self.on_signal(received);
            }
            // Whoever asks before the hooks have agreed to a restart is one with it, as a signal is.
            self.attend();
            for pid in talkative {
                self.hear(pid, false);
            }
        }
    }

    /// Waits until something comes; returns who has something to say.
    fn wait(&self) -> Vec<Pid> {
        let now = Instant::now();
        let ends = self.generations.iter().filter_map(|generation| generation.end_at);
        let others = [
            self.attempt.as_ref().and_then(Attempt::deadline),
            self.desk.as_ref().and_then(Desk::deadline),
            self.pulse.deadline(),
        ];
        let deadline = ends.chain(others.into_iter().flatten()).min();
        let time = deadline.map_or(PollTimeout::NONE, |deadline| until(deadline, now));
        // The end of a channel would be told again and again, whether it is asked for or not.
        let awaited: Vec<&Generation> =
            self.generations.iter().filter(|generation| !generation.interest().is_empty()).collect();
        let mut polled = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        polled
            .extend(awaited.iter().map(|generation| PollFd::new(generation.as_fd(), generation.interest())));
        polled.extend(self.desk.iter().map(|desk| PollFd::new(desk.as_fd(), PollFlags::POLLIN)));
        match poll(&mut polled, time) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Vec::new(),
            Err(error) => {
                event!(ERROR, "cannot wait", error = error);
                std::thread::sleep(Duration::from_millis(100));
                return Vec::new();
            }
        }
        let has_come = |polled: &PollFd<'_>| polled.revents().is_some_and(|events| !events.is_empty());
        let talkative = awaited.iter().zip(&polled[1..]).filter(|(_, polled)| has_come(polled));
        talkative.map(|(generation, _)| generation.pid).collect()
    }

    fn hear(&mut self, pid: Pid, is_gone: bool) {
        let Some(generation) = self.generation(pid) else { return };
        for heard in generation.hear(is_gone) {
            self.on_heard(pid, heard);
        }
    }

    fn on_heard(&mut self, pid: Pid, heard: Heard) {
        let Some(role) = self.generation(pid).map(|generation| generation.role) else { return };
        match (role, heard) {
            // Also of one that has not heard yet that it is replaced: it would have taken it for itself alone.
            (_, Heard::Said(Message::Signal(signal))) => self.on_relayed(signal, pid),
            (_, Heard::Said(Message::Pong)) => self.on_pong(pid),
            (Role::Starting, heard) => self.on_heard_of_successor(heard),
            (Role::Serving, Heard::Relisted) => self.take_stock(pid),
            (Role::Serving, Heard::Said(message)) => self.on_heard_of_predecessor(message),
            (Role::Serving, Heard::Closed | Heard::Broken(_)) => {
                // It serves, and nobody can tell it anything any more.
                self.generation(pid).into_iter().for_each(|generation| generation.give_up(Instant::now()));
            }
            (Role::Draining, _) => {}
        }
    }

    /// Keeps what the generation that serves has.
    fn take_stock(&mut self, pid: Pid) {
        let Some(generation) = self.generation(pid) else { return };
        let (report, stock) = (generation.report.clone(), std::mem::take(&mut generation.stock));
        self.signals.add(&report.hooked);
        self.report = report;
        // What a service that stops listens on is to be closed when it closes it.
        self.stock = if self.stop.is_none() { stock } else { Stock::default() };
    }

    /// Reaps whoever has ended, also those that became children of this process when theirs ended.
    fn reap(&mut self) {
        loop {
            let (pid, end) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) => (pid, End::Exited(status)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, End::Killed(signal)),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            // It may have said why.
            self.hear(pid, true);
            self.on_end(pid, end);
        }
    }

    fn on_end(&mut self, pid: Pid, end: End) {
        let Some(at) = self.generations.iter().position(|generation| generation.pid == pid) else { return };
        match self.generations.remove(at).role {
            Role::Starting => self.on_end_of_successor(pid, end),
            Role::Serving => self.on_end_of_serving(pid, end),
            Role::Draining if end == End::Exited(0) => {}
            Role::Draining => {
                event!(WARN, "a generation has ended while it drained", pid = pid, how = end)
            }
        }
    }

    fn on_end_of_serving(&mut self, pid: Pid, end: End) {
        match end {
            _ if self.stop.is_some() && self.attempt.is_none() => self.status = Some(status_of(end)),
            _ if self.attempt.is_some() => {
                event!(WARN, "the generation that served has ended", pid = pid, how = end);
                self.on_predecessor_gone();
            }
            // As it wanted, or as it will each time.
            End::Exited(0 | 2) => self.give_up(status_of(end)),
            _ => self.replace_dead(&Dead::of(pid, end)),
        }
    }

    /// Ends when all generations have.
    fn give_up(&mut self, status: u8) {
        self.status = Some(status);
        self.tell_stopping();
        self.stock = Stock::default();
    }

    fn on_time(&mut self, now: Instant) {
        let late = |generation: &&mut Generation| generation.end_at.is_some_and(|end| end <= now);
        for generation in self.generations.iter_mut().filter(late) {
            generation.end_at = None;
            event!(ERROR, "a generation has closed its channel: it is ended", pid = generation.pid);
            generation.kill();
        }
        self.on_time_of_attempt(now);
        self.on_time_of_pulse(now);
    }

    fn on_signal(&mut self, received: Received) {
        let Received { signal, sender, hangup, .. } = received;
        let relayed = Relayed::new(signal, sender);
        if self.echoes.is_new(&relayed, None, Instant::now()) {
            self.act(signal, relayed, hangup);
        }
    }

    /// Somebody has sent it to a generation.
    fn on_relayed(&mut self, relayed: Relayed, pid: Pid) {
        // One that this build does not know is none of its signals.
        let Ok(signal) = relayed.name.parse() else { return };
        if self.echoes.is_new(&relayed, Some(pid), Instant::now()) {
            self.act(signal, relayed, false);
        }
    }

    fn act(&mut self, signal: Signal, relayed: Relayed, hangup: bool) {
        match signal {
            Signal::Hangup if !hangup => self.restart_wanted(Wanted::by(relayed)),
            Signal::Hangup | Signal::Terminate | Signal::Interrupt => self.stop_wanted(signal, relayed),
            other if self.is_hooked(other) => self.relay_to_serving(relayed),
            unhooked => act_by_default(unhooked),
        }
    }

    fn is_hooked(&self, signal: Signal) -> bool {
        Signal::ALWAYS.contains(&signal) || self.report.hooked.contains(&signal.to_string())
    }

    /// Whoever serves is told; those that drain already were told to do no more than that.
    fn relay_to_serving(&mut self, relayed: Relayed) {
        let stops = self.stop.is_some();
        for generation in &mut self.generations {
            if generation.role == Role::Serving || stops && generation.role == Role::Draining {
                generation.say(Message::Signal(relayed.clone()));
            }
        }
    }

    fn stop_wanted(&mut self, signal: Signal, relayed: Relayed) {
        let stop = self.stop.get_or_insert_default();
        stop.signals.push(relayed.clone());
        stop.interrupts += u32::from(signal == Signal::Interrupt);
        let hammers = stop.interrupts > 1 && signal == Signal::Interrupt;
        self.tell_stopping();
        let reason = format!("stopped by {signal}");
        if let Some(again) = self.again.take() {
            self.answer_all(again.visitors, &Answer::refused(&*reason));
        }
        self.call_off(reason);
        if hammers {
            let hammer = Relayed { name: Signal::User2.to_string(), ..relayed };
            self.of_role(Role::Draining)
                .for_each(|generation| generation.say(Message::Signal(hammer.clone())));
        }
        self.stop_if_nothing_is_under_way();
    }

    /// Passes a stop on, now that it is clear to whom.
    fn stop_if_nothing_is_under_way(&mut self) {
        let Some(stop) = self.stop.as_mut().filter(|_| self.attempt.is_none()) else { return };
        let signals = std::mem::take(&mut stop.signals);
        let Stock { listeners, .. } = std::mem::take(&mut self.stock);
        let Some(serving) = self.serving() else {
            // Who serves would do it.
            listeners.iter().filter_map(|(note, _)| note.file.as_ref()).for_each(|file| file.remove());
            self.status = self.status.or(Some(0));
            return;
        };
        // Before it is told: what it closes is closed.
        drop(listeners);
        signals.into_iter().for_each(|signal| serving.say(Message::Signal(signal)));
    }

    fn generation(&mut self, pid: Pid) -> Option<&mut Generation> {
        self.generations.iter_mut().find(|generation| generation.pid == pid)
    }

    fn of_role(&mut self, role: Role) -> impl Iterator<Item = &mut Generation> {
        self.generations.iter_mut().filter(move |generation| generation.role == role)
    }

    fn serving(&mut self) -> Option<&mut Generation> {
        self.of_role(Role::Serving).next()
    }

    fn successor(&mut self) -> Option<&mut Generation> {
        self.of_role(Role::Starting).next()
    }
}

/// Rounded up, so that the time is over when it is over.
fn until(deadline: Instant, now: Instant) -> PollTimeout {
    let time = deadline.saturating_duration_since(now) + Duration::from_millis(1);
    PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)
}

/// The exit status that tells of `end`, as a shell would.
fn status_of(end: End) -> u8 {
    let status = match end {
        End::Exited(status) => status,
        End::Killed(signal) => 128 + signal as i32,
        End::Untold => 1,
    };
    u8::try_from(status).unwrap_or(1)
}
