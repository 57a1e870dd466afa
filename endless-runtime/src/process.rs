//! What the parts of a running process share: its settings, its servers, its hooks, and the stage of its
//! life.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::unistd::{Pid, getpid};
use tokio::sync::{mpsc, oneshot, watch};

use crate::bequest::BEQUESTS;
use crate::config::{self, Config, Manner};
use crate::control;
use crate::error::{Error, Result};
use crate::handover::message::Kin;
use crate::lock::lock;
use crate::pid_file;
use crate::servers::Servers;
use crate::signal::Signal;
use crate::signal::hook::{Hooks, Registration};

/// Where a process stands in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Not ready, or not told to go.
    #[default]
    Starting,
    Serving,
    /// Nothing new is accepted; what is in flight is finished.
    Draining,
    /// Everything is finished, and `serve` returns.
    Finished,
}

/// What somebody asks of the process.
#[derive(Debug)]
pub(crate) enum Command {
    Restart {
        reply: oneshot::Sender<Result<u32>>,
    },
    Shutdown,
    /// A hook wants to know of this signal.
    Catch(Signal),
    Failed(Failure),
}

/// Why this process will not be ready, for a predecessor that waits for it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    /// Dropped when the predecessor was told, or nobody is there to be.
    pub(crate) told: oneshot::Sender<()>,
}

/// For how long a process that fails waits until its predecessor is told why.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// The one of this process, from its first server on.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) config: Config,
    pub(crate) servers: Servers,
    pub(crate) hooks: Hooks,
    generation: AtomicU64,
    commands: mpsc::UnboundedSender<Command>,
    /// The PID of a successor that is starting, or 0: it must not outlive a hammered predecessor.
    pub(crate) starting: AtomicI32,
    /// Whether a successor has taken over: what only a stop removes is the successor's from then on.
    pub(crate) succeeded: AtomicBool,
    /// Whether a supervisor has asked this process to let itself be replaced.
    pub(crate) asked: AtomicBool,
    /// The process that keeps the PID to signal.
    supervisor: Option<Pid>,
    /// Whether it is gone, so that this process has to remove what is left of it.
    pub(crate) orphaned: AtomicBool,
    begun: Instant,
    /// When the hammer falls, once there is a moment for that.
    pub(crate) hammer_at: OnceLock<Instant>,
    /// Those that drain while this one serves.
    predecessors: OnceLock<Vec<Kin>>,
}

static PROCESS: OnceLock<Process> = OnceLock::new();

/// Set from the moment at which a stop is asked for: what the readiness path tells.
pub(crate) static STOPS: AtomicBool = AtomicBool::new(false);

/// There before the process is, for handlers that ask for [`draining`](crate::draining) early.
static STAGE: LazyLock<watch::Sender<Stage>> = LazyLock::new(watch::Sender::default);

impl Process {
    /// The process, if a server was started or it was configured.
    pub(crate) fn current() -> Option<&'static Self> {
        PROCESS.get()
    }

    /// The process; with the default settings if nobody has configured it.
    ///
    /// # Errors
    ///
    /// Unusable settings in the environment, or a machine that is out of threads or descriptors.
    pub(crate) fn get_or_start() -> Result<&'static Self> {
        Self::start_with(Config::new, Manner::Imperative, |_| Ok(()))
    }

    /// Starts the process with these settings.
    ///
    /// # Errors
    ///
    /// As [`Process::get_or_start`], and if it was started before.
    pub(crate) fn configure(config: Config, manner: Manner) -> Result<&'static Self> {
        let late = "the process must be configured before its first server, and once";
        Self::start_with(|| config, manner, |_| Err(Error::configuration(late)))
    }

    fn start_with(
        config: impl FnOnce() -> Config,
        manner: Manner,
        if_started: impl Fn(&'static Self) -> Result<()>,
    ) -> Result<&'static Self> {
        static STARTING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = lock(&STARTING);
        if let Some(process) = PROCESS.get() {
            return if_started(process).map(|()| process);
        }
        let config = config().overruled_by(config::environment(), manner)?;
        config::warn_of_unknown_variables();
        let (commands, received) = mpsc::unbounded_channel();
        let hooks = Hooks::with(&config.hooks);
        #[cfg(feature = "_tls")]
        config.tls_reload.into_iter().for_each(|signal| hooks.give(crate::tls::reload_upon(signal)));
        let prepared = control::prepare(&config, &hooks)?;
        let supervisor = prepared.supervisor();
        let process = PROCESS.get_or_init(|| Self {
            config,
            servers: Servers::new(),
            hooks,
            generation: AtomicU64::new(0),
            commands,
            starting: AtomicI32::new(0),
            succeeded: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            supervisor,
            orphaned: AtomicBool::new(false),
            begun: Instant::now(),
            hammer_at: OnceLock::new(),
            predecessors: OnceLock::new(),
        });
        // Without a control thread nothing comes that could be waited for.
        control::start(process, prepared, received).inspect_err(|_| BEQUESTS.inherit(Vec::new()))?;
        Ok(process)
    }

    /// Adds a hook that was given in code.
    pub(crate) fn give_hook(&self, signal: Signal, hook: &'static Registration) {
        self.hooks.give(hook);
        self.command(Command::Catch(signal));
    }

    /// Whether it is about to be replaced.
    pub(crate) fn is_restarting(&self) -> bool {
        self.starting.load(Relaxed) != 0 || self.asked.load(Relaxed)
    }

    /// The PID to signal.
    pub(crate) fn pid(&self) -> Pid {
        self.supervisor.unwrap_or_else(getpid)
    }

    /// The process that keeps that PID, if it is not this one.
    pub(crate) fn supervisor(&self) -> Option<Pid> {
        self.supervisor
    }

    pub(crate) fn command(&self, command: Command) {
        // The control thread lives as long as the process.
        let _unheard = self.commands.send(command);
    }

    /// Tells a predecessor that waits for this process why it will not be ready. Needs a tokio runtime.
    pub(crate) async fn report_failure(&self, reason: String) {
        let (told, report) = oneshot::channel();
        self.command(Command::Failed(Failure { reason, told }));
        let _told_or_late = tokio::time::timeout(REPORT_TIMEOUT, report).await;
    }

    /// Removes what only a stop removes, whether everything was finished or the hammer fell.
    pub(crate) fn clean_up(&self) {
        // A successor may be writing its own PID file just now, between our reading and our removing. A
        // supervisor's is its own to remove.
        if self.succeeded.load(Relaxed) || self.supervisor.is_some() && !self.orphaned.load(Relaxed) {
            return;
        }
        if let Some(path) = &self.config.pid_file {
            pid_file::remove(path, self.pid());
        }
    }

    /// For how long it has been there.
    pub(crate) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// What it is told of them once, before it serves.
    pub(crate) fn note_predecessors(&self, predecessors: Vec<Kin>) {
        let _told_before = self.predecessors.set(predecessors);
    }

    /// The predecessors that have not ended.
    pub(crate) fn predecessors(&self) -> Vec<Kin> {
        let all = self.predecessors.get().into_iter().flatten();
        all.filter(|predecessor| predecessor.lives()).copied().collect()
    }

    /// Those who drain when this process has a successor.
    pub(crate) fn kin(&self) -> Vec<Kin> {
        let itself = Kin::of(std::process::id(), self.generation());
        self.predecessors().into_iter().chain(itself).collect()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    pub(crate) fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Relaxed);
    }
}

/// The stage that this process is in, and a way to wait for another.
pub(crate) fn stage() -> watch::Receiver<Stage> {
    STAGE.subscribe()
}

pub(crate) fn enter(stage: Stage) {
    STAGE.send_replace(stage);
}
