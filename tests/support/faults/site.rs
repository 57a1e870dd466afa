//! A server that is to be disturbed, in a folder of its own, and the load on it.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::fault::has_slept;
use super::outcome::pid_in;
use super::points::Points;
use crate::support::authority::Authority;
use crate::support::cargo::{example_with, install};
use crate::support::client::{Client, patiently, until_busy_over};
use crate::support::h2_client::H2Load;
use crate::support::http1::Response;
use crate::support::pipe::Pipe;
use crate::support::plan::Plan;
use crate::support::process::{
    App, Line, Mark, PATIENCE, SUPERVISE, alive, children, descriptors, shared_folder,
};
use crate::support::running::Running;
use crate::support::secure::{Secure, VERSIONS};
use crate::support::strict::{Kind, Load};
use crate::support::tools::tool;

/// Nobody: a user without any right (Debian's `nobody` and `nogroup`).
const NOBODY: u32 = 65534;

const POLL: Duration = Duration::from_millis(5);

/// Which way to run is tried. Each has steps of its own, and outcomes of its own where they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Each generation starts the next.
    Direct,
    /// One process starts all of them.
    Supervised,
}

/// As whom the server runs: the kernel's limit on descriptors in flight is not root's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// As the test does.
    Same,
    /// As nobody, where the test may choose, and with a soft limit of 1,024 descriptors.
    Unprivileged,
}

/// What the server and its clients speak HTTP over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Tcp,
    /// Of both versions, and HTTP/2 beside HTTP/1.
    Tls,
}

/// How a site is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) mode: Mode,
    pub(crate) user: User,
    pub(crate) over: Over,
    /// Which of the tests' programs.
    pub(crate) program: &'static str,
    pub(crate) arguments: &'static [&'static str],
    pub(crate) ready_timeout: &'static str,
    /// Lines of shell that run before the first generation.
    pub(crate) before: &'static str,
}

impl Setup {
    pub(crate) const fn new(mode: Mode, user: User) -> Self {
        let (program, arguments, over) = ("test_declarative", &[], Over::Tcp);
        Self { mode, user, over, program, arguments, ready_timeout: "60s", before: "" }
    }
}

/// A server that serves.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) app: App,
    pub(crate) address: SocketAddr,
    pub(crate) points: Points,
    pub(crate) plan: Plan,
    /// The first generation.
    pub(crate) first: u32,
    mode: Mode,
    /// Over TLS: how its clients speak it.
    secure: Option<Secure>,
    /// How many descriptors a generation has open when it does nothing.
    descriptors: usize,
    /// And how many its supervisor, if there is one; one that was started by a script has no program to hold.
    holdings: usize,
    /// Those whose end is not to be an orderly one.
    killed: Mutex<BTreeSet<u32>>,
    program: &'static str,
    user: User,
    /// How to raise again what was lowered.
    lowered: Mutex<Vec<String>>,
    folder: TempDir,
    _authority: Option<Authority>,
}

impl Site {
    pub(crate) async fn open(setup: Setup) -> Self {
        Self::open_with(setup, |_| {}).await
    }

    /// Lets the caller have its way with the command.
    pub(crate) async fn open_with(setup: Setup, change: impl FnOnce(&mut Command)) -> Self {
        let folder = shared_folder();
        let path = folder.path().join("app");
        install_program(setup.program, &path);
        install_program(setup.program, &folder.path().join("good"));
        let mut command = command(&setup, &path);
        let (points, plan) = (Points::of(&mut command), Plan::of(&mut command));
        command.env("ENDLESS_READY_TIMEOUT", setup.ready_timeout);
        command.env(SUPERVISE, if setup.mode == Mode::Supervised { "true" } else { "false" });
        let authority = (setup.over == Over::Tls).then(Authority::new);
        if let Some(authority) = &authority {
            let identity = authority.issue("server", &["localhost"]);
            command.env("ENDLESS_TLS_CERT", &identity.cert).env("ENDLESS_TLS_KEY", &identity.key);
        }
        change(&mut command);
        let app = App::start(command);
        let serving = app.wait_for_message(Mark::START, "serving").await;
        let first = pid_in(&serving, "pid");
        let address = app.address().await;
        let holdings = match setup.mode {
            Mode::Direct => 0,
            Mode::Supervised => patiently(Holdings::settled(app.first_pid(), folder.path())).await.others,
        };
        Self {
            app,
            address,
            points,
            plan,
            first,
            mode: setup.mode,
            secure: authority.as_ref().map(Secure::trusting),
            descriptors: descriptors(first),
            holdings,
            killed: Mutex::default(),
            program: setup.program,
            user: setup.user,
            lowered: Mutex::default(),
            folder,
            _authority: authority,
        }
    }

    /// The file that successors are started from.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("app")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces the program by a file of these bytes, which may be executed.
    pub(crate) fn ship(&self, bytes: &[u8]) {
        let draft = self.folder.path().join("draft");
        fs::write(&draft, bytes).expect("our own folder");
        fs::set_permissions(&draft, Permissions::from_mode(0o755)).expect("our own file");
        install(&draft, &self.path());
    }

    /// Replaces the program by another one of the tests'.
    pub(crate) fn ship_program(&self, name: &str) {
        install_program(name, &self.path());
    }

    /// Replaces the program by a script that does `lines` first and then becomes it.
    pub(crate) fn ship_script(&self, lines: &str) {
        let good = self.folder.path().join("good");
        self.ship(format!("#!/bin/sh\n{lines}\nexec {good:?} \"$@\"\n").as_bytes());
    }

    /// Lowers a soft limit of the first generation, by prlimit(1)'s name of it; nothing, if the machine lacks the
    /// tool.
    pub(crate) fn lower_limit(&self, name: &str, to: usize) {
        self.lower_limit_of(self.app.first_pid(), name, to);
    }

    /// The same of another process.
    pub(crate) fn lower_limit_of(&self, pid: u32, name: &str, to: usize) {
        let Some(prlimit) = tool("prlimit") else { return };
        let before = as_user(self.user, &prlimit)
            .args([
                "--pid",
                &pid.to_string(),
                "--raw",
                "--noheadings",
                "--output",
                "SOFT",
                &format!("--{name}"),
            ])
            .output()
            .expect("it can be run")
            .stdout;
        let before = String::from_utf8(before).expect("text");
        self.lowered.lock().expect("no panic").push(format!("--{name}={}:", before.trim()));
        assert!(self.set_limit(&prlimit, pid, &format!("--{name}={to}:")), "{name} cannot be set");
    }

    /// A successor has inherited what was lowered.
    fn raise_limits(&self) {
        for limit in self.lowered.lock().expect("no panic").drain(..) {
            let prlimit = tool("prlimit").expect("it was there");
            for pid in self.app.processes() {
                // A predecessor may just have ended.
                self.set_limit(&prlimit, pid, &limit);
            }
        }
    }

    /// As the user whose process it is: root may lack the right in a container.
    fn set_limit(&self, prlimit: &Path, pid: u32, limit: &str) -> bool {
        let set = as_user(self.user, prlimit).args(["--pid", &pid.to_string(), limit]).output();
        set.expect("it can be run").status.success()
    }

    /// Makes the next generation a good one.
    pub(crate) fn repair(&self) {
        if self.path().is_dir() {
            fs::remove_dir(self.path()).expect("our own folder");
        }
        install_program(self.program, &self.path());
        self.plan.set("");
        self.raise_limits();
    }

    /// A request on a connection of its own, to be answered some time.
    pub(crate) async fn ask(&self, path: &str) -> Asked {
        let stream = patiently(TcpStream::connect(self.address)).await.expect("the server takes connections");
        let port = stream.local_addr().expect("it is open").port();
        let (secure, path) = (self.secure.clone(), path.to_owned());
        let asked = async move {
            let mut client = Client::over_pipe(patiently(Pipe::over(stream, secure.as_ref())).await?);
            client.ask(&path).await;
            Ok(client)
        };
        let client = match self.secure {
            // It has been sent, whatever happens next.
            None => tokio::spawn(std::future::ready(asked.await)),
            Some(_) => tokio::spawn(asked),
        };
        Asked { port, client }
    }

    /// Waits until this many connections are open and this many requests in flight, the one that asks left out.
    pub(crate) async fn until_busy(&self, connections: u64, in_flight: u64) {
        until_busy_over(self.address, self.secure.as_ref(), connections, in_flight).await;
    }

    /// Constant load on whoever listens at this address, of connections that are used once and of ones that are kept;
    /// over TLS, of ones that have streams, too.
    pub(crate) async fn load(&self, at: SocketAddr) -> Vec<Running> {
        let think = Duration::ZERO..=Duration::from_millis(20);
        let load = || Load::new(at, Kind::KeepAlive { think: think.clone() }).connections(4);
        let loads = match &self.secure {
            None => vec![load().start(), load().fresh().start()],
            Some(secure) => {
                let [kept, fresh] = VERSIONS.map(|version| secure.clone().version(version));
                let streams =
                    H2Load::new(at).secure(&secure.clone().protocol("h2")).connections(2).streams(2);
                vec![load().secure(&kept).start(), load().fresh().secure(&fresh).start(), streams.start()]
            }
        };
        for load in &loads {
            load.until_answered(8).await;
        }
        loads
    }

    /// Waits for a line of this message by this process.
    pub(crate) async fn says(&self, mark: Mark, pid: u32, message: &str) -> Line {
        let pid = pid.to_string();
        let told = |line: &Line| line.message() == Some(message) && line.field("pid") == Some(&pid);
        self.app.wait_for(mark, told, PATIENCE).await
    }

    /// How many lines of this message the process has written.
    pub(crate) fn said(&self, pid: u32, message: &str) -> usize {
        let pid = pid.to_string();
        let told = |line: &&Line| line.message() == Some(message) && line.field("pid") == Some(&pid);
        self.app.lines().iter().filter(told).count()
    }

    /// The process that has the PID to signal, for as long as it has it.
    pub(crate) fn supervisor(&self) -> Option<u32> {
        (self.mode == Mode::Supervised).then(|| self.app.first_pid())
    }

    /// Asks for a restart, of the generation that serves, and does not wait for it.
    pub(crate) fn hang_up(&self, serving: u32) {
        self.app.signal(self.supervisor().unwrap_or(serving), Signal::SIGHUP);
    }

    pub(crate) fn kill(&self, pid: u32) {
        self.expect_killed(pid);
        self.app.signal(pid, Signal::SIGKILL);
    }

    pub(crate) fn expect_killed(&self, pid: u32) {
        self.killed.lock().expect("no panic").insert(pid);
    }

    /// Waits for the end of a generation that has handed over.
    pub(crate) async fn ends_well(&self, pid: u32) {
        match self.supervisor() {
            None => assert_eq!(self.app.exit(pid).await.code(), Some(0)),
            // Which says nothing of one that ends well: `no_other_has_died`.
            Some(_) => self.until("it has ended", || alive(pid), &false).await,
        }
    }

    /// Waits for the end of one that was killed.
    pub(crate) async fn is_dead(&self, pid: u32) {
        match self.supervisor() {
            None => assert_eq!(self.app.exit(pid).await.code(), None, "it was killed"),
            Some(_) => assert_eq!(self.deaths_told(pid).await, 1, "its death is told once"),
        }
    }

    /// How often the supervisor tells of the death of `pid`, which it does.
    async fn deaths_told(&self, pid: u32) -> usize {
        let told = |line: &Line| death_in(line) == Some(pid);
        let _first = self.app.wait_for(Mark::START, told, PATIENCE).await;
        self.app.lines().iter().filter(|line| told(line)).count()
    }

    /// Once all is over: every generation has ended in an orderly way that was not killed.
    fn no_other_has_died(&self) {
        let killed = self.killed.lock().expect("no panic");
        let lines = self.app.lines();
        let died: Vec<&Line> =
            lines.iter().filter(|line| death_in(line).is_some_and(|pid| !killed.contains(&pid))).collect();
        assert!(died.is_empty(), "{died:?}");
    }

    /// Restarts once more, under load and as if nothing had been; returns who serves.
    pub(crate) async fn restarts(&self, serving: u32, address: SocketAddr) -> u32 {
        let (mark, load) = (self.app.mark(), self.load(address).await);
        self.hang_up(serving);
        let outcome = |line: &Line| {
            matches!(line.message(), Some("handed over" | "restart called off"))
                && line.field("pid") == Some(&serving.to_string())
        };
        let line = self.app.wait_for(mark, outcome, PATIENCE).await;
        let successor = line.field("successor").and_then(|pid| pid.parse().ok());
        let successor = successor.unwrap_or_else(|| panic!("the next restart failed: {line}"));
        for load in load {
            load.until_answered_by(successor).await;
            load.stop().await.assert_clean();
        }
        self.ends_well(serving).await;
        successor
    }

    /// Waits until the process that serves is alone, but for its supervisor, with nothing open that was not open
    /// at the start.
    pub(crate) async fn is_tidy(&self, serving: u32) {
        let (app, nobody) = (&self.app, Vec::<u32>::new());
        let mut all: Vec<u32> = self.supervisor().into_iter().chain([serving]).collect();
        all.sort_unstable();
        self.until("it is alone", || app.processes(), &all).await;
        self.until("its dead are reaped", || children(serving), &nobody).await;
        self.until("no descriptor is left open", || descriptors(serving), &self.descriptors).await;
        if let Some(supervisor) = self.supervisor() {
            self.until("it is the only child", || children(supervisor), &vec![serving]).await;
            let holdings = || Holdings::of(supervisor, self.folder());
            self.until("the supervisor has none either", || holdings().others, &self.holdings).await;
            assert!(holdings().programs <= 1, "{:?}", holdings());
        }
        assert_eq!(app.zombies(), nobody);
    }

    /// Waits for what the kernel does not tell by itself.
    pub(crate) async fn until<T: PartialEq + std::fmt::Debug>(
        &self,
        what: &str,
        now: impl Fn() -> T,
        wanted: &T,
    ) {
        let come = async {
            while now() != *wanted {
                tokio::time::sleep(POLL).await;
            }
        };
        if tokio::time::timeout(PATIENCE, come).await.is_err() {
            panic!("waited until {what}: {:?} instead of {wanted:?}", now());
        }
    }

    /// Ends it, in an orderly way.
    pub(crate) async fn close(self, serving: u32) {
        self.app.signal(self.supervisor().unwrap_or(serving), Signal::SIGTERM);
        self.is_over(serving).await;
    }

    /// Waits for the end of all, after an orderly stop.
    pub(crate) async fn is_over(&self, serving: u32) {
        let last = self.supervisor().unwrap_or(serving);
        assert_eq!(self.app.exit(last).await.code(), Some(0));
        patiently(self.app.ended()).await;
        self.no_other_has_died();
    }
}

/// A request on a connection of its own. Over TLS it waits for the handshake, and that for somebody who accepts.
#[derive(Debug)]
pub(crate) struct Asked {
    port: u16,
    client: JoinHandle<std::io::Result<Client>>,
}

impl Asked {
    /// The client's.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its answer, and who has got it.
    pub(crate) async fn answer(self) -> (Response, Client) {
        let client = patiently(self.client).await.expect("it does not panic");
        let mut client = client.unwrap_or_else(|error| panic!("{error}"));
        (client.answer().await, client)
    }
}

/// The generation of whose death its supervisor tells.
fn death_in(line: &Line) -> Option<u32> {
    let told = [
        "the generation that served has ended",
        "the generation has ended: replacing it",
        "the generation has ended: giving up",
        "a generation has ended while it drained",
    ];
    line.message().filter(|message| told.contains(message))?;
    // Or `none`, if it could not even be started.
    line.field("pid")?.parse().ok()
}

/// What a supervisor has open: whatever it is, and the program that became ready, which it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holdings {
    programs: usize,
    others: usize,
}

impl Holdings {
    fn of(pid: u32, folder: &Path) -> Self {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let links = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
        let (programs, others): (Vec<_>, Vec<_>) = links.partition(|link| link.starts_with(folder));
        Self { programs: programs.len(), others: others.len() }
    }

    /// Once it knows of a generation that serves, and does nothing: that one may just be telling it of its
    /// listeners again.
    async fn settled(pid: u32, folder: &Path) -> Self {
        let (mut before, mut same) = (Self { programs: 0, others: 0 }, 0);
        while same < 3 || before.programs == 0 {
            tokio::time::sleep(POLL).await;
            has_slept(pid).await;
            let now = Self::of(pid, folder);
            same = if now == before { same + 1 } else { 0 };
            before = now;
        }
        before
    }
}

/// What the loads saw: nothing may have failed but on the connections from these ports.
pub(crate) async fn assert_no_other_loss(loads: Vec<Running>, lost: &BTreeSet<u16>) {
    for load in loads {
        let report = load.stop().await;
        let excused =
            report.failures.iter().filter(|failure| failure.port().is_some_and(|port| lost.contains(&port)));
        assert_eq!(
            excused.count() as u64,
            report.failed,
            "lost without need; excused were {lost:?}: {report}"
        );
    }
}

/// A link, as the programs with debug information are large; a copy where the file systems differ.
fn install_program(name: &str, path: &Path) {
    let program = example_with(name, &["_pause-points"], &[]);
    let draft = path.with_extension("draft");
    match fs::hard_link(&program, &draft) {
        Ok(()) => fs::rename(&draft, path).expect("our own folder"),
        Err(_) => install(&program, path),
    }
}

/// The program as that user, where the test may choose.
fn as_user(user: User, program: &Path) -> Command {
    let mut command = Command::new(program);
    if user == User::Unprivileged && geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn command(setup: &Setup, path: &Path) -> Command {
    let limit = match setup.user {
        User::Same => "",
        User::Unprivileged => "ulimit -S -n 1024\n",
    };
    let mut command = match (limit, setup.before) {
        ("", "") => Command::new(path),
        (limit, before) => {
            let mut shell = as_user(setup.user, Path::new("sh"));
            shell.arg("-c").arg(format!("{limit}{before}\nexec \"$0\" \"$@\"")).arg(path);
            shell
        }
    };
    command.args(setup.arguments);
    command
}
