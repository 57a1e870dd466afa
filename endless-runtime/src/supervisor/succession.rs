//! A supervisor that becomes a newer build of itself, with the same PID, the same descriptors and the same
//! children: what it knows goes through `execve(2)` in a file in memory.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal as Number, kill};
use nix::sys::stat::fstat;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getppid};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Supervisor;
use super::generation::{Generation, Role, Stock};
use super::program::Program;
use super::signals::Signals;
use crate::endlessctl::Desk;
use crate::error::describe;
use crate::handover::environment::SUPERVISOR_VARIABLE;
use crate::handover::launch::Launch;
use crate::handover::message::Report;
use crate::listener::ListenerNote;
use crate::log::event;
use crate::pause::{self, Point};
use crate::secrets::Secrets;
use crate::signal::{Judge, Signal};
use crate::sys;

/// The word that says that another process tries.
const REHEARSAL: &str = "rehearsal";

/// How long that one may take: it reads a file.
const REHEARSAL_TIME: Duration = Duration::from_secs(5);

/// How often it is looked after.
const LOOK: Duration = Duration::from_millis(2);

/// What a supervisor knows. Descriptors keep their numbers; secrets are not in here, but in the file behind it.
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

/// Why a supervisor has not become another build.
enum Stays {
    /// Something has come that is to be done first.
    Busy,
    Unable(io::Error),
}

impl Supervisor {
    /// Becomes the newer build that serves, at a moment at which nothing is under way.
    pub(super) fn become_newer(&mut self) {
        let is_newer = self.report.supervisor > self.version;
        if !is_newer || !self.is_at_rest() {
            return;
        }
        // Once: if it cannot be done now, it will not be done by trying.
        let before = std::mem::replace(&mut self.version, self.report.supervisor);
        event!(INFO, "the supervisor becomes the build that serves", pid = getpid(), version = self.version);
        match self.rehearse().map_err(Stays::Unable).and_then(|()| self.exec()) {
            Ok(never) => match never {},
            Err(Stays::Busy) => self.version = before,
            Err(Stays::Unable(error)) => {
                let error = describe(&error);
                event!(ERROR, "the supervisor stays the build that it is", pid = getpid(), error = error);
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        let quiet = |generation: &Generation| generation.is_quiet() && generation.role != Role::Starting;
        let asked = self.again.is_some() || self.stop.is_some() || self.status.is_some();
        let answered = self.desk.as_ref().is_none_or(Desk::is_quiet);
        self.attempt.is_none() && !asked && answered && self.generations.iter().all(quiet)
    }

    /// Lets the other build read in a process of its own what it will be given, as from an exec there is no
    /// way back: a program that does not run here, or does not understand this one, ends that process alone.
    fn rehearse(&self) -> io::Result<()> {
        let state = write(&self.state(), None)?;
        let inode = fstat(&state)?.st_ino;
        let variable = |number| format!("{SUPERVISOR_VARIABLE}={number},{inode},{},{REHEARSAL}", getpid());
        // What is sent to all of a group or a name is for this process.
        let pid = self.launch.rehearse(&self.held_program()?, &state.into(), &Signal::ALL, variable)?;
        let end = end_of(pid, Instant::now() + REHEARSAL_TIME)?;
        pause::at(Point::Rehearsed);
        match end {
            Some(WaitStatus::Exited(_, 0)) => Ok(()),
            Some(_) => Err(io::Error::other("it does not understand what it would be given")),
            None => Err(io::Error::other("it does not say in time whether it can")),
        }
    }

    /// The very file that serves. One that another program has started, as a script does, is not known, and
    /// what has started it is none to become.
    fn held_program(&self) -> io::Result<PathBuf> {
        let unknown = || io::Error::other("which program serves is not known: another one has started it");
        self.program.path().ok_or_else(unknown)
    }

    /// Returns only why not.
    fn exec(&mut self) -> Result<Infallible, Stays> {
        let blocked = Signals::block();
        // What had come before is still to be acted on.
        for received in self.signals.received() {
            self.on_signal(received);
        }
        let stays = match blocked {
            Err(error) => Stays::Unable(error),
            Ok(()) if !self.is_at_rest() => Stays::Busy,
            Ok(()) => self.try_exec().map_or_else(Stays::Unable, |never| match never {}),
        };
        let _closed = self.descriptors().try_for_each(|descriptor| keep_over_exec(descriptor, false));
        Signals::unblock();
        Err(stays)
    }

    fn try_exec(&self) -> io::Result<Infallible> {
        let state = write(&self.state(), self.stock.secrets.as_ref())?;
        let program = self.held_program()?;
        let variable =
            format!("{SUPERVISOR_VARIABLE}={},{},{}", state.as_raw_fd(), fstat(&state)?.st_ino, getpid());
        self.descriptors()
            .chain([state.as_fd()])
            .try_for_each(|descriptor| keep_over_exec(descriptor, true))?;
        pause::at(Point::Becoming);
        Err(self.launch.exec(&program, &variable))
    }

    fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let channels = self.generations.iter().map(AsFd::as_fd);
        let listeners = self.stock.listeners.iter().map(|(_, socket)| socket.as_fd());
        let bequests = self.stock.bequests.iter().map(|(_, descriptor)| descriptor.as_fd());
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
            listeners: by_number(&self.stock.listeners),
            bequests: by_number(&self.stock.bequests),
            report: self.report.clone(),
            pid_file: self.pid_file.clone(),
            desk: self.desk.as_ref().map(KeptDesk::of),
        }
    }

    fn resume(state: State, secrets: Option<Secrets>) -> io::Result<Self> {
        let launch = state.launch()?;
        let ignored = state.ignored();
        let signals = Signals::catch(Judge::resumed(ignored, state.had_terminal))?;
        signals.add(&state.report.hooked);
        let mut supervisor = Self::new(launch, signals);
        let (listeners, bequests) = (by_themselves(state.listeners)?, by_themselves(state.bequests)?);
        supervisor.stock = Stock { listeners, bequests, secrets };
        supervisor.generations =
            state.generations.into_iter().map(Kept::resume).collect::<io::Result<_>>()?;
        let held = state.held.map(own).transpose()?;
        supervisor.program = held.map_or(Program::OfPath, |file| Program::Held(file.into()));
        (supervisor.served, supervisor.attempts) = (state.served, state.attempts);
        (supervisor.report, supervisor.pid_file) = (state.report, state.pid_file);
        // An older build had none.
        supervisor.desk = state.desk.map(KeptDesk::resume).transpose()?.or_else(Desk::open);
        pause::at(Point::Resumed);
        Signals::unblock();
        Ok(supervisor)
    }
}

/// What this process finds of a supervisor of another build.
pub(super) enum Found {
    /// It was that one itself, and goes on.
    Itself(Box<Supervisor>),
    /// It was started to say whether it could, and can.
    Rehearsed,
}

/// Reads what a supervisor has left in order to become this build; `None` if there was none.
///
/// # Errors
///
/// A state that cannot be read, or a machine that is out of descriptors.
pub(super) fn find() -> io::Result<Option<Found>> {
    let found = match take() {
        None => return Ok(None),
        Some(Left::Rehearsal(file)) => {
            pause::at(Point::Rehearsing);
            read(file)?.0.launch()?;
            Found::Rehearsed
        }
        Some(Left::Own(file)) => {
            pause::at(Point::Became);
            let (state, secrets) = read(file)?;
            Found::Itself(Box::new(Supervisor::resume(state, secrets)?))
        }
    };
    Ok(Some(found))
}

impl State {
    fn ignored(&self) -> Vec<Signal> {
        self.ignored.iter().filter_map(|name| name.parse().ok()).collect()
    }

    fn launch(&self) -> io::Result<Launch> {
        Launch::of_this_process(Some(&self.program), self.ignored())
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

/// Sealed: what is read after the exec, or by another process before, is what was written here. The secrets are put
/// behind the JSON as they are: whatever makes JSON leaves copies behind.
#[cfg(target_os = "linux")]
fn write(state: &State, secrets: Option<&Secrets>) -> io::Result<File> {
    use nix::fcntl::SealFlag;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create("endless supervisor", flags)?);
    file.write_all(&serde_json::to_vec(state)?)?;
    file.write_all(secrets.map_or(&[], Secrets::bytes))?;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

#[cfg(not(target_os = "linux"))]
fn write(_state: &State, _secrets: Option<&Secrets>) -> io::Result<File> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

fn read(mut file: File) -> io::Result<(State, Option<Secrets>)> {
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    // All at once: what grows leaves copies behind.
    let mut bytes = Zeroizing::new(vec![0; length]);
    file.rewind()?;
    file.read_exact(&mut bytes)?;
    let mut states = serde_json::Deserializer::from_slice(&bytes).into_iter();
    let state = states.next().transpose()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let rest = bytes[states.byte_offset()..].to_vec();
    Ok((state, Secrets::new(rest.into()).filter(|secrets| !secrets.bytes().is_empty())))
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

/// A state that was left for this process.
enum Left {
    Own(File),
    Rehearsal(File),
}

/// The file that the variable names (`descriptor,inode,PID`, and a word that follows for a rehearsal), if it
/// was made by this very process before its exec, or by its parent.
fn take() -> Option<Left> {
    let text = std::env::var(SUPERVISOR_VARIABLE).ok()?;
    let (numbers, is_rehearsal) = match text.strip_suffix(REHEARSAL) {
        Some(numbers) => (numbers.strip_suffix(',')?, true),
        None => (&*text, false),
    };
    let fields: Vec<u64> = numbers.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[descriptor, inode, pid] = &fields[..] else { return None };
    let maker = if is_rehearsal { getppid() } else { getpid() };
    if u64::try_from(maker.as_raw()) != Ok(pid) {
        return None;
    }
    let file = sys::own_kept(RawFd::try_from(descriptor).ok()?, Some(inode)).ok()?.into();
    Some(if is_rehearsal { Left::Rehearsal(file) } else { Left::Own(file) })
}

/// How the process has ended; `None` if it was ended because it had not by itself. There is nobody else to
/// wait meanwhile, as this process has one thread.
fn end_of(pid: Pid, deadline: Instant) -> io::Result<Option<WaitStatus>> {
    loop {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::StillAlive if Instant::now() < deadline => sleep(LOOK),
            WaitStatus::StillAlive => {
                kill(pid, Number::SIGKILL)?;
                waitpid(pid, None)?;
                return Ok(None);
            }
            end => return Ok(Some(end)),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn secrets_go_along_in_a_file_that_nobody_can_change() {
        let secrets = Secrets::new(b"{\"never\": JSON}\xff\0".to_vec().into()).expect("they are short");
        let state = State { attempts: 7, ..State::default() };
        for secrets in [Some(secrets), None] {
            let file = write(&state, secrets.as_ref()).expect("a file");
            assert!(file.write_at(b"8", 0).is_err());
            let (read, come) = read(file).expect("our own");
            assert!(read.attempts == 7 && come == secrets);
        }
    }
}
