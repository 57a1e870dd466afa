//! A guard around a real server process and all its successors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long the guard waits for what must come. Generous: it is met only by a test that fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often `/proc` is asked where the kernel sends no message.
const POLL: Duration = Duration::from_millis(5);

/// In the environment of the server and, because a successor gets its environment as at start, of each
/// generation: it finds those that have not logged anything yet.
const MARK: &str = "TEST_APP_MARK";

/// The variable that says whether the server is supervised.
pub(crate) const SUPERVISE: &str = "ENDLESS_SUPERVISE";

/// A server under test. Dropping it kills what is left of it, and shows its lines if the test panics.
#[derive(Debug)]
pub(crate) struct App {
    first: u32,
    mark: String,
    output: Arc<Output>,
    /// What has been reaped here: a generation whose predecessor is gone is a child of this process, the
    /// subreaper.
    exits: Mutex<BTreeMap<u32, ExitStatus>>,
    /// Reaped through `waitpid`, like all generations; kept because its handle must not be lost.
    _child: Child,
}

/// A point in the output: `wait_for` looks at what came after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark(usize);

impl Mark {
    /// Before all output.
    pub(crate) const START: Self = Self(0);
}

impl App {
    /// Starts the program with both outputs captured. Each generation inherits the pipes. It is a direct one,
    /// or, if the command says so in its environment, supervised.
    #[track_caller]
    pub(crate) fn start(mut command: Command) -> Self {
        become_subreaper();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mark = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        if !command.get_envs().any(|(name, _)| name == SUPERVISE) {
            command.env(SUPERVISE, std::env::var("TEST_SUPERVISE").as_deref().unwrap_or("false"));
        }
        command.env(MARK, &mark).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let output = Arc::new(Output::default());
        output.collect(Source::Stdout, child.stdout.take().expect("stdout is piped"));
        output.collect(Source::Stderr, child.stderr.take().expect("stderr is piped"));
        Self { first: child.id(), mark, output, exits: Mutex::default(), _child: child }
    }

    /// The PID that was started.
    pub(crate) fn first_pid(&self) -> u32 {
        self.first
    }

    /// All that came on both outputs so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.output.lock().lines.clone()
    }

    /// Now. Take it before an action, to wait for the action's line.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.output.lock().lines.len())
    }

    /// The first line after `mark` that is `wanted`; waits for it.
    ///
    /// # Panics
    ///
    /// If it does not come in time, or cannot come any more as every process of the server has closed its
    /// output. The guard then shows all lines.
    pub(crate) async fn wait_for(
        &self,
        mark: Mark,
        wanted: impl Fn(&Line) -> bool,
        within: Duration,
    ) -> Line {
        let come = async {
            loop {
                let changed = self.output.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                let (found, ended) = self.output.find(mark, &wanted);
                if found.is_some() || ended {
                    return found;
                }
                changed.await;
            }
        };
        match timeout(within, come).await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("the server ended without the line that the test waits for"),
            Err(_) => panic!("the line that the test waits for did not come within {within:?}"),
        }
    }

    /// Waits for endless' next line of this message (`serving`, `handed over`, …) after `mark`.
    pub(crate) async fn wait_for_message(&self, mark: Mark, message: &str) -> Line {
        self.wait_for(mark, |line| line.message() == Some(message), PATIENCE).await
    }

    /// Where the first server listens; waits until it does.
    pub(crate) async fn address(&self) -> SocketAddr {
        let addresses = self.addresses(1).await;
        addresses[0].parse().unwrap_or_else(|_| panic!("{} is no socket address", addresses[0]))
    }

    /// Where the servers of the first generation listen, in the order of their lines; waits for `count` of
    /// them.
    pub(crate) async fn addresses(&self, count: usize) -> Vec<String> {
        let mut addresses = Vec::new();
        let mut mark = Mark::START;
        while addresses.len() < count {
            let line = self.wait_for_message(mark, "listening").await;
            addresses.push(line.expect("address").to_owned());
            mark = line.after();
        }
        addresses
    }

    /// The generation that serves, as far as the lines tell.
    pub(crate) fn serving_pid(&self) -> u32 {
        let lines = self.lines();
        let mut told = lines.iter().filter_map(|line| match line.message()? {
            "serving" | "restart called off" => line.pid("pid"),
            "handed over" => line.pid("successor"),
            _ => None,
        });
        let listening =
            lines.iter().find(|line| line.message() == Some("listening")).and_then(|line| line.pid("pid"));
        told.next_back().or(listening).unwrap_or(self.first)
    }

    /// Every process that the lines name, the first one included.
    pub(crate) fn generations(&self) -> BTreeSet<u32> {
        let lines = self.lines();
        let named =
            lines.iter().flat_map(|line| ["pid", "successor", "predecessor"].map(|name| line.pid(name)));
        named.flatten().chain([self.first]).collect()
    }

    /// # Panics
    ///
    /// If there is no such process, or it is not one of this server's: a stray PID must not hit a stranger.
    #[track_caller]
    pub(crate) fn signal(&self, pid: u32, signal: Signal) {
        assert!(self.processes().contains(&pid), "{pid} is no living process of this server");
        kill(nix_pid(pid), signal).unwrap_or_else(|error| panic!("cannot send {signal} to {pid}: {error}"));
    }

    /// Sends SIGHUP to the generation that serves and waits for the outcome: the successor's PID.
    ///
    /// # Panics
    ///
    /// If the restart was called off.
    pub(crate) async fn restart(&self) -> u32 {
        let outcome = self.try_restart().await;
        outcome.unwrap_or_else(|reason| panic!("the restart was called off: {reason}"))
    }

    /// As `restart`, but a restart that was called off is an `Err` with the reason that the server gave.
    pub(crate) async fn try_restart(&self) -> Result<u32, String> {
        let pid = self.serving_pid();
        let mark = self.mark();
        self.signal(pid, Signal::SIGHUP);
        let is_outcome = |line: &Line| {
            matches!(line.message(), Some("handed over" | "restart called off"))
                && line.pid("pid") == Some(pid)
        };
        let line = self.wait_for(mark, is_outcome, PATIENCE).await;
        match line.message() {
            Some("handed over") => Ok(line.pid("successor").expect("`handed over` names the successor")),
            _ => Err(line.field("reason").unwrap_or_default().to_owned()),
        }
    }

    /// Sends SIGTERM to the generation that serves and waits for its end.
    pub(crate) async fn stop(&self) -> ExitStatus {
        let pid = self.serving_pid();
        self.signal(pid, Signal::SIGTERM);
        self.exit(pid).await
    }

    /// Waits for the end of one generation.
    ///
    /// # Panics
    ///
    /// If it does not end within 60 s, or its predecessor, which still drains, reaped it and does not say how
    /// it ended.
    pub(crate) async fn exit(&self, pid: u32) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_exit(pid) {
                Exit::Ended(status) => return status,
                Exit::Reaped => {
                    if let Some(status) = self.told_exit(pid) {
                        return status;
                    }
                    assert!(
                        Instant::now() < deadline,
                        "{pid} was reaped by its predecessor, which does not say how it ended"
                    );
                }
                Exit::Running => {
                    assert!(Instant::now() < deadline, "{pid} did not end within {PATIENCE:?}");
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// How `pid` ended, as its predecessor says that reaped it because it still drained.
    fn told_exit(&self, pid: u32) -> Option<ExitStatus> {
        let told = "the successor has ended while its predecessor still drains";
        let lines = self.lines();
        let is_told = |line: &&Line| line.message() == Some(told) && line.pid("successor") == Some(pid);
        let how = lines.iter().find(is_told)?.field("how")?;
        if let Some(status) = how.strip_prefix("exited with status ") {
            return Some(ExitStatus::from_raw(status.parse::<i32>().ok()? << 8));
        }
        let signal: Signal = how.strip_prefix("was killed by ")?.parse().ok()?;
        Some(ExitStatus::from_raw(signal as i32))
    }

    /// Waits until no process of this server is left.
    ///
    /// # Panics
    ///
    /// After 60 s.
    pub(crate) async fn ended(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.processes().is_empty() {
            assert!(Instant::now() < deadline, "{:?} did not end within {PATIENCE:?}", self.processes());
            tokio::time::sleep(POLL).await;
        }
        self.reap(self.generations());
    }

    /// Waits until every process has closed its output, so that all its lines are there.
    ///
    /// # Panics
    ///
    /// After 60 s.
    pub(crate) async fn all_said(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.output.lock().open > 0 {
            assert!(Instant::now() < deadline, "somebody may still write a line after {PATIENCE:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    fn try_exit(&self, pid: u32) -> Exit {
        let mut exits = self.exits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = exits.get(&pid) {
            return Exit::Ended(*status);
        }
        let stat = Stat::read(pid);
        match waitpid(nix_pid(pid), Some(WaitPidFlag::WNOHANG)).map(exit_status) {
            Ok(Some(status)) => {
                exits.insert(pid, status);
                Exit::Ended(status)
            }
            // Still a child of its predecessor, which has not reaped it; the status stands in /proc until it
            // does.
            Err(Errno::ECHILD) => match stat {
                Some(Stat { state: 'Z', exit_code, .. }) => {
                    exits.insert(pid, ExitStatus::from_raw(exit_code));
                    Exit::Ended(ExitStatus::from_raw(exit_code))
                }
                Some(_) => Exit::Running,
                None => Exit::Reaped,
            },
            _ => Exit::Running,
        }
    }

    /// The living processes of this server, zombies left out: what carries its mark, or is named by its lines
    /// and descends from this process.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let all = Stat::all();
        let named = self.generations();
        let descends = |pid: u32| {
            // PIDs may be reused while we look, so a circle is possible; no real line of descent is that
            // long.
            let line = std::iter::successors(Some(pid), |pid| all.get(pid).map(|stat| stat.parent)).take(64);
            line.skip(1).any(|ancestor| ancestor == std::process::id())
        };
        let alive = all.iter().filter(|(_, stat)| stat.is_alive()).map(|(pid, _)| *pid);
        alive.filter(|pid| descends(*pid) && (named.contains(pid) || self.carries_mark(*pid))).collect()
    }

    fn carries_mark(&self, pid: u32) -> bool {
        let wanted = format!("{MARK}={}", self.mark);
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    }

    /// The living processes of this server that are not generations that its lines name.
    pub(crate) fn children(&self) -> Vec<u32> {
        let named = self.generations();
        self.processes().into_iter().filter(|pid| !named.contains(pid)).collect()
    }

    /// Dead processes that a living process of this server has failed to reap. (The dead that are left to
    /// this process, the subreaper, are not its fault.)
    pub(crate) fn zombies(&self) -> Vec<u32> {
        let living = self.processes();
        let zombies =
            Stat::all().into_iter().filter(|(_, stat)| stat.state == 'Z' && living.contains(&stat.parent));
        zombies.map(|(pid, _)| pid).collect()
    }

    /// Kills, until none is left: one that dies may just have started another.
    fn kill_all(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut known = self.generations();
        loop {
            let living = self.processes();
            if living.is_empty() || Instant::now() > deadline {
                break;
            }
            for pid in &living {
                // It may have ended since; that is as good.
                kill(nix_pid(*pid), Signal::SIGKILL).ok();
            }
            known.extend(living);
            thread::sleep(Duration::from_millis(1));
        }
        self.reap(known);
    }

    fn reap(&self, pids: impl IntoIterator<Item = u32>) {
        for pid in pids {
            self.try_exit(pid);
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.kill_all();
        if thread::panicking() {
            self.output.wait_for_end(Duration::from_secs(1));
            eprintln!("---- lines of the server that was started as {}", self.first);
            self.lines().iter().for_each(|line| eprintln!("{line}"));
            eprintln!("---- end of its lines");
        }
    }
}

enum Exit {
    Running,
    Ended(ExitStatus),
    /// By its predecessor.
    Reaped,
}

/// Which output a line came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Stdout,
    Stderr,
}

/// A line of the server's output.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    number: usize,
    pub(crate) source: Source,
    /// Since the start of the server.
    pub(crate) at: Duration,
    pub(crate) text: String,
}

impl Line {
    /// The words of an event of endless, without level and fields: `handed over` of `INFO endless: handed
    /// over pid=1 successor=2`.
    pub(crate) fn message(&self) -> Option<&str> {
        let event = self.event()?;
        let fields = event.split(' ').take_while(|word| !word.contains('='));
        let length = fields.map(|word| word.len() + 1).sum::<usize>();
        Some(event[..length.saturating_sub(1)].trim())
    }

    /// The value of a field `name=value` or `name="value with spaces"` of an event of endless, without the
    /// quotes.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut rest = self.event()?;
        while let Some((before, after)) = rest.split_once('=') {
            let this = before.rsplit(' ').next()?;
            let (value, next) = split_value(after);
            if this == name {
                return Some(value);
            }
            rest = next;
        }
        None
    }

    /// The point right after it.
    pub(crate) fn after(&self) -> Mark {
        Mark(self.number + 1)
    }

    pub(crate) fn pid(&self, name: &str) -> Option<u32> {
        self.field(name)?.parse().ok()
    }

    #[track_caller]
    fn expect(&self, name: &str) -> &str {
        self.field(name).unwrap_or_else(|| panic!("no field {name} in {:?}", self.text))
    }

    fn event(&self) -> Option<&str> {
        self.text.split_once("endless: ").map(|(_, event)| event)
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let source = if self.source == Source::Stdout { "out" } else { "err" };
        write!(f, "{:8.3} {source} {}", self.at.as_secs_f64(), self.text)
    }
}

/// The value before the next field, and what follows it. A quote within a quoted value is escaped by a
/// backslash, as `Debug` does.
fn split_value(text: &str) -> (&str, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        return text.split_once(' ').unwrap_or((text, ""));
    };
    let mut escaped = false;
    let end = quoted.find(|character| {
        let closes = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        closes
    });
    let end = end.unwrap_or(quoted.len());
    (&quoted[..end], quoted.get(end + 1..).unwrap_or_default())
}

/// What all processes of the server wrote.
#[derive(Debug, Default)]
struct Output {
    collected: Mutex<Collected>,
    changed: Notify,
}

#[derive(Debug)]
struct Collected {
    since: Instant,
    lines: Vec<Line>,
    /// Outputs that some process may still write to.
    open: usize,
}

impl Default for Collected {
    fn default() -> Self {
        Self { since: Instant::now(), lines: Vec::new(), open: 0 }
    }
}

impl Output {
    /// On a plain thread: it reads on while a test blocks the runtime, and ends when the last process closes
    /// the pipe.
    fn collect(self: &Arc<Self>, source: Source, pipe: impl Read + Send + 'static) {
        self.lock().open += 1;
        let output = Arc::clone(self);
        thread::spawn(move || {
            let lines = BufReader::new(pipe).split(b'\n');
            lines.map_while(Result::ok).for_each(|line| output.add(source, &line));
            output.lock().open -= 1;
            output.changed.notify_waiters();
        });
    }

    fn add(&self, source: Source, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        let mut collected = self.lock();
        let (number, at) = (collected.lines.len(), collected.since.elapsed());
        collected.lines.push(Line { number, source, at, text });
        drop(collected);
        self.changed.notify_waiters();
    }

    /// The line, if it is there, and whether no more lines can come.
    fn find(&self, mark: Mark, wanted: impl Fn(&Line) -> bool) -> (Option<Line>, bool) {
        let collected = self.lock();
        let found = collected.lines.iter().skip(mark.0).find(|line| wanted(line)).cloned();
        (found, collected.open == 0)
    }

    fn wait_for_end(&self, within: Duration) {
        let deadline = Instant::now() + within;
        while self.lock().open > 0 && Instant::now() < deadline {
            thread::sleep(POLL);
        }
    }

    // A predicate that panicked under the lock has changed nothing.
    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fields of `/proc/PID/stat` from the third on, if there is such a process (proc_pid_stat(5)).
pub(crate) fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, field 2, is in parentheses and may hold anything, parentheses too.
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// What of it tells whose child the process is, and how it has ended.
struct Stat {
    state: char,
    parent: u32,
    /// In the form of wait(2), known once it is a zombie.
    exit_code: i32,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let fields = stat_fields(pid)?;
        let state = fields.first()?.chars().next()?;
        Some(Self {
            state,
            parent: fields.get(1)?.parse().ok()?,
            exit_code: fields.last()?.parse().unwrap_or(0),
        })
    }

    fn all() -> BTreeMap<u32, Self> {
        let entries = fs::read_dir("/proc").expect("/proc can be listed").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid| Some((pid, Self::read(pid)?))).collect()
    }

    fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

/// Whether the process runs; a zombie does not.
pub(crate) fn alive(pid: u32) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.is_alive())
}

/// The children of any process, zombies included.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let all = Stat::all().into_iter();
    all.filter(|(_, stat)| stat.parent == pid).map(|(child, _)| child).collect()
}

/// How many descriptors the process has open.
///
/// # Panics
///
/// If there is no such process.
#[track_caller]
pub(crate) fn descriptors(pid: u32) -> usize {
    let listing = fs::read_dir(format!("/proc/{pid}/fd"));
    listing.unwrap_or_else(|error| panic!("cannot list the descriptors of {pid}: {error}")).count()
}

/// A folder in which programs may read and write whoever they run as.
pub(crate) fn shared_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("it is our own");
    folder
}

/// Makes this process the parent of each successor whose predecessor has ended, so that it can wait for it.
/// It holds for the whole test process and may be said again.
fn become_subreaper() {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(true).expect("any process may become a subreaper");
}

fn nix_pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("a PID fits"))
}

fn exit_status(status: WaitStatus) -> Option<ExitStatus> {
    match status {
        WaitStatus::Exited(_, code) => Some(ExitStatus::from_raw(code << 8)),
        WaitStatus::Signaled(_, signal, dumped) => {
            Some(ExitStatus::from_raw(signal as i32 | i32::from(dumped) << 7))
        }
        _ => None,
    }
}
