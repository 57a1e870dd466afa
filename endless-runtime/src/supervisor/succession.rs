//! A supervisor that becomes a newer build of itself, with the same PID, the same descriptors and the same
//! children: what it knows goes through `execve(2)` in a file in memory.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::stat::fstat;
use nix::unistd::{Pid, getpid};
use serde::{Deserialize, Serialize};

use super::Supervisor;
use super::generation::{Generation, Role};
use super::program::Program;
use super::signals::Signals;
use crate::endlessctl::Desk;
use crate::error::describe;
use crate::handover::environment::SUPERVISOR_VARIABLE;
use crate::handover::launch::Launch;
use crate::handover::message::Report;
use crate::handover::supervisor_version;
use crate::listener::ListenerNote;
use crate::log::event;
use crate::pause::{self, Point};
use crate::signal::{Judge, Signal};
use crate::sys;

/// What a supervisor knows. Descriptors keep their numbers.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct State {
    program: PathBuf,
    ignored: Vec<String>,
    had_terminal: bool,
    held: Option<RawFd>,
    generations: Vec<Kept>,
    served: Option<u64>,
    attempts: u64,
    listeners: Vec<(ListenerNote, RawFd)>,
    bequests: Vec<(String, RawFd)>,
    report: Report,
    pid_file: Option<PathBuf>,
    desk: Option<KeptDesk>,
}

/// A generation that goes on as if nothing had happened.
#[derive(Debug, Deserialize, Serialize)]
struct Kept {
    pid: i32,
    serves: bool,
    channel: RawFd,
    #[serde(default)]
    number: u64,
}

/// Where operators ask: whoever has just come does not notice.
#[derive(Debug, Deserialize, Serialize)]
struct KeptDesk {
    listener: RawFd,
    /// Those who have not said all of what they want.
    asking: Vec<(RawFd, Vec<u8>)>,
}

impl Supervisor {
    /// Becomes the newer build that serves, at a moment at which nothing is under way.
    pub(super) fn become_newer(&mut self) {
        let is_newer = self.report.supervisor > self.version;
        if !is_newer || !self.is_at_rest() {
            return;
        }
        // Once: if it cannot be done now, it will not be done by trying.
        self.version = self.report.supervisor;
        event!(INFO, "the supervisor becomes the build that serves", pid = getpid(), version = self.version);
        let error = self.exec();
        event!(ERROR, "the supervisor stays the build that it is", pid = getpid(), error = describe(&error));
    }

    fn is_at_rest(&self) -> bool {
        let quiet = |generation: &Generation| generation.is_quiet() && generation.role != Role::Starting;
        let asked = self.again.is_some() || self.stop.is_some() || self.status.is_some();
        let answered = self.desk.as_ref().is_none_or(Desk::is_quiet);
        self.attempt.is_none() && !asked && answered && self.generations.iter().all(quiet)
    }

    /// Returns only why not.
    fn exec(&mut self) -> io::Error {
        let signals = Signals::block();
        // What had come before is still to be acted on.
        for received in self.signals.received() {
            self.on_signal(received);
        }
        if !self.is_at_rest() {
            self.version = supervisor_version();
            Signals::unblock();
            return io::Error::other("something has come in between");
        }
        let error = signals.and_then(|()| self.try_exec()).err();
        let _closed = self.descriptors().try_for_each(|descriptor| keep_over_exec(descriptor, false));
        Signals::unblock();
        error.unwrap_or_else(|| io::Error::other("it has not become anything"))
    }

    fn try_exec(&self) -> io::Result<()> {
        let state = write(&self.state())?;
        let variable =
            format!("{SUPERVISOR_VARIABLE}={},{},{}", state.as_raw_fd(), fstat(&state)?.st_ino, getpid());
        self.descriptors()
            .chain([state.as_fd()])
            .try_for_each(|descriptor| keep_over_exec(descriptor, true))?;
        let program = self.program.path();
        pause::at(Point::Becoming);
        Err(self.launch.exec(program.as_deref().unwrap_or(self.launch.program()), &variable))
    }

    fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let channels = self.generations.iter().map(AsFd::as_fd);
        let listeners = self.listeners.iter().map(|(_, socket)| socket.as_fd());
        let bequests = self.bequests.iter().map(|(_, descriptor)| descriptor.as_fd());
        let desk = self.desk.iter().flat_map(|desk| {
            let (listener, asking) = desk.parts();
            asking.into_iter().map(|(socket, _)| socket).chain([listener])
        });
        channels.chain(listeners).chain(bequests).chain(self.program.held()).chain(desk)
    }

    fn state(&self) -> State {
        let generations = self.generations.iter().map(|generation| Kept {
            pid: generation.pid.as_raw(),
            serves: generation.role == Role::Serving,
            channel: generation.as_fd().as_raw_fd(),
            number: generation.number,
        });
        let judge = self.signals.judge();
        State {
            program: self.launch.program().to_owned(),
            ignored: judge.ignored_at_start().iter().map(Signal::to_string).collect(),
            had_terminal: judge.had_terminal(),
            held: self.program.held().map(|file| file.as_raw_fd()),
            generations: generations.collect(),
            served: self.served,
            attempts: self.attempts,
            listeners: by_number(&self.listeners),
            bequests: by_number(&self.bequests),
            report: self.report.clone(),
            pid_file: self.pid_file.clone(),
            desk: self.desk.as_ref().map(KeptDesk::of),
        }
    }

    /// The supervisor that this process was before it became this build; `None` if it was none.
    ///
    /// # Errors
    ///
    /// A state that cannot be read, or a machine that is out of descriptors.
    pub(super) fn resumed() -> io::Result<Option<Self>> {
        let Some(mut file) = take() else { return Ok(None) };
        let mut text = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut text)?;
        let state: State = serde_json::from_slice(&text)?;
        let ignored: Vec<Signal> = state.ignored.iter().filter_map(|name| name.parse().ok()).collect();
        let launch = Launch::of_this_process(Some(&state.program), ignored.clone())?;
        let signals = Signals::catch(Judge::resumed(ignored, state.had_terminal))?;
        signals.add(&state.report.hooked);
        let mut supervisor = Self::new(launch, signals);
        supervisor.listeners = by_themselves(state.listeners)?;
        supervisor.bequests = by_themselves(state.bequests)?;
        supervisor.generations =
            state.generations.into_iter().map(Kept::resume).collect::<io::Result<_>>()?;
        let held = state.held.map(own).transpose()?;
        supervisor.program = held.map_or(Program::OfPath, |file| Program::Held(file.into()));
        (supervisor.served, supervisor.attempts) = (state.served, state.attempts);
        (supervisor.report, supervisor.pid_file) = (state.report, state.pid_file);
        // An older build had none.
        supervisor.desk = state.desk.map(KeptDesk::resume).transpose()?.or_else(Desk::open);
        Signals::unblock();
        Ok(Some(supervisor))
    }
}

impl Kept {
    fn resume(self) -> io::Result<Generation> {
        let role = if self.serves { Role::Serving } else { Role::Draining };
        let channel = own(self.channel)?.into();
        let mut generation = Generation::resumed(Pid::from_raw(self.pid), role, None, channel);
        generation.number = self.number;
        Ok(generation)
    }
}

impl KeptDesk {
    fn of(desk: &Desk) -> Self {
        let (listener, asking) = desk.parts();
        let asking = asking.into_iter().map(|(socket, said)| (socket.as_raw_fd(), said.to_vec()));
        Self { listener: listener.as_raw_fd(), asking: asking.collect() }
    }

    fn resume(self) -> io::Result<Desk> {
        let asking = self.asking.into_iter().map(|(raw, said)| Ok((own(raw)?, said)));
        Desk::resume(own(self.listener)?, asking.collect::<io::Result<_>>()?)
    }
}

#[cfg(target_os = "linux")]
fn write(state: &State) -> io::Result<File> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let mut file = File::from(memfd_create("endless supervisor", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&serde_json::to_vec(state)?)?;
    Ok(file)
}

#[cfg(not(target_os = "linux"))]
fn write(_state: &State) -> io::Result<File> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

fn by_number<T: Clone>(kept: &[(T, OwnedFd)]) -> Vec<(T, RawFd)> {
    kept.iter().map(|(said, descriptor)| (said.clone(), descriptor.as_raw_fd())).collect()
}

fn by_themselves<T>(kept: Vec<(T, RawFd)>) -> io::Result<Vec<(T, OwnedFd)>> {
    kept.into_iter().map(|(said, raw)| Ok((said, own(raw)?))).collect()
}

/// In this process, which has one thread, nothing is started before the exec.
fn keep_over_exec(descriptor: BorrowedFd<'_>, keep: bool) -> io::Result<()> {
    let flags = if keep { FdFlag::empty() } else { FdFlag::FD_CLOEXEC };
    fcntl(descriptor, FcntlArg::F_SETFD(flags))?;
    Ok(())
}

fn own(raw: RawFd) -> io::Result<OwnedFd> {
    let owned = sys::own_kept(raw, None)?;
    keep_over_exec(owned.as_fd(), false)?;
    Ok(owned)
}

/// The file that the variable names (`descriptor,inode,PID`), if it was made for this very process.
fn take() -> Option<File> {
    let text = std::env::var(SUPERVISOR_VARIABLE).ok()?;
    let fields: Vec<u64> = text.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[descriptor, inode, pid] = &fields[..] else { return None };
    if pid != u64::from(std::process::id()) {
        return None;
    }
    sys::own_kept(RawFd::try_from(descriptor).ok()?, Some(inode)).ok().map(File::from)
}
