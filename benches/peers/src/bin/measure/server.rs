//! A peer that runs: its processes, what they use, its end.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use crate::Outcome;
use crate::catalogue::{Http2, Peer};
use crate::client::Way;
use crate::exchange;
use crate::workshop::{Workshop, free_address};

/// How long anything may take before it counts as failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A process group, ended with its guard.
pub(crate) struct Server {
    /// Not reaped before the end, so that the group's number stays its own.
    leader: Child,
    log: PathBuf,
    pub(crate) http1: SocketAddr,
    /// To `http1`.
    pub(crate) way: Way,
    pub(crate) http2: SocketAddr,
    /// From before the exec to the first answer.
    pub(crate) start: Duration,
}

impl Server {
    pub(crate) fn start(peer: &Peer, workshop: &Workshop) -> Outcome<Self> {
        Self::start_with(peer, workshop, &[])
    }

    pub(crate) fn start_with(peer: &Peer, workshop: &Workshop, arguments: &[&str]) -> Outcome<Self> {
        let http1 = free_address()?;
        let http2 = if peer.http2 == Http2::Own { free_address()? } else { http1 };
        let log = workshop.log(peer);
        let output = File::create(&log)?;
        let mut command = workshop.command(peer, http1, http2)?;
        command.args(arguments).process_group(0).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        let certificate = peer.tls.then_some(workshop.identity.certificate.as_path());
        let way = Way::to(http1, certificate)?;
        let begun = Instant::now();
        let leader = spawn(&mut command)?;
        let mut server = Self { leader, log, http1, way, http2, start: Duration::ZERO };
        server.start = server.first_answer(begun)?;
        Ok(server)
    }

    fn first_answer(&mut self, begun: Instant) -> Outcome<Duration> {
        loop {
            if exchange::once(&self.way, "/hello").is_ok() {
                return Ok(begun.elapsed());
            }
            if self.members().is_empty() {
                return Err(format!("ended at its start: {}", self.last_words()).into());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("no answer within {PATIENCE:?}: {}", self.last_words()).into());
            }
            sleep(Duration::from_micros(100));
        }
    }

    pub(crate) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().last().unwrap_or("its log is empty").to_owned()
    }

    /// The process that was started.
    pub(crate) fn started(&self) -> u32 {
        self.leader.id()
    }

    /// All processes of the group that are alive.
    pub(crate) fn members(&self) -> BTreeSet<u32> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| alive_in_group(*pid) == Some(self.leader.id())).collect()
    }

    /// Of all threads that are there, user and system, as the scheduler counts it (proc(5), `schedstat`).
    pub(crate) fn processor_time(&self) -> Duration {
        let tasks = self
            .members()
            .into_iter()
            .flat_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten());
        let times = tasks.filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(times.sum())
    }

    /// Bytes that no other process has and that are no file's.
    pub(crate) fn private_memory(&self) -> u64 {
        let rollups = self.members().into_iter();
        let kibibytes = rollups.filter_map(|pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = text.lines().find(|line| line.starts_with("Private_Dirty:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
        kibibytes.sum::<u64>() << 10
    }

    pub(crate) fn signal(&self, pid: u32, signal: Signal) -> Outcome<()> {
        if !self.members().contains(&pid) {
            return Err(format!("{pid} is none of its processes").into());
        }
        Ok(kill(Pid::from_raw(pid as i32), signal)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that is born meanwhile is killed in the next turn.
        while !self.members().is_empty() {
            if let Err(error) = killpg(Pid::from_raw(self.leader.id() as i32), Signal::SIGKILL) {
                eprintln!("not ended: {error}");
                return;
            }
            sleep(Duration::from_millis(1));
        }
        running().remove(&self.leader.id());
        if let Err(error) = self.leader.wait() {
            eprintln!("not reaped: {error}");
        }
    }
}

/// The groups that are to end with this program.
fn running() -> MutexGuard<'static, BTreeSet<u32>> {
    static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
    RUNNING.lock().expect("no panic")
}

/// Under the lock, so that an interrupt finds all that there are.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut running = running();
    let leader = command.spawn()?;
    running.insert(leader.id());
    Ok(leader)
}

/// Whoever interrupts or stops this program reaches it alone, as each server has a group of its own.
pub(crate) fn end_all_when_stopped() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let (mut interrupt, mut stop) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(entered);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => (),
                _ = stop.recv() => (),
            }
        });
        for group in &*running() {
            if let Err(error) = killpg(Pid::from_raw(*group as i32), Signal::SIGKILL) {
                eprintln!("{group} is not ended: {error}");
            }
        }
        std::process::exit(130);
    });
    Ok(())
}

/// Whether there is such a process and it is more than a status for whoever has to reap it.
pub(crate) fn is_alive(pid: u32) -> bool {
    alive_in_group(pid).is_some()
}

/// Its process group.
fn alive_in_group(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    (state != "Z" && state != "X").then_some(group)
}
