//! Debian's systemd, booted in namespaces of its own and with nothing but the test's units.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use super::cargo::install;
use super::process::{PATIENCE, children, shared_folder};
use super::tools::tool;

const BOOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/systemd-boot.sh");

const POLL: Duration = Duration::from_millis(20);

/// A booted systemd; dropping it ends it and all that it has started.
#[derive(Debug)]
pub(crate) struct Systemd {
    /// `/opt/hello` and `/run/test` there.
    folder: TempDir,
    unshare: Child,
    /// Its PID here.
    init: u32,
    _groups: Groups,
}

/// What `systemctl` has said.
#[derive(Debug)]
pub(crate) struct Ctl(Output);

impl Ctl {
    #[track_caller]
    pub(crate) fn done(&self) {
        assert!(self.0.status.success(), "{self:?}");
    }

    /// What it says of that.
    #[track_caller]
    pub(crate) fn failed(&self) -> String {
        assert!(!self.0.status.success(), "{self:?}");
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }
}

impl Systemd {
    /// Boots it with these units, changed as they need; `None` where the machine does not let it.
    pub(crate) async fn boot(units: &[(&str, String)]) -> Option<Self> {
        let [unshare, _, _] = [tool("unshare")?, tool("systemctl")?, tool("nsenter")?];
        if !Path::new("/lib/systemd/systemd").exists() || !geteuid().is_root() {
            eprintln!("skipped: systemd wants to be there, and root's");
            return None;
        }
        let folder = shared_folder();
        fs::create_dir(folder.path().join("units")).expect("our own folder");
        for (name, text) in units {
            fs::write(folder.path().join("units").join(name), text).expect("our own folder");
        }
        let groups = Groups::make()?;
        let log = fs::File::create(folder.path().join("boot.log")).expect("our own folder");
        let unshare = start(&unshare, &folder, &groups, &log);
        let mut systemd = Self { folder, init: 0, unshare, _groups: groups };
        systemd.boots().await;
        Some(systemd)
    }

    async fn boots(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let [init] = children(self.unshare.id())[..] {
                self.init = init;
                if self.systemctl(&["is-active", "default.target"]).0.status.success() {
                    return;
                }
            }
            let ended = self.unshare.try_wait().expect("our own child");
            assert!(ended.is_none() && Instant::now() < deadline, "it does not boot: {}", self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ships a program as `/opt/hello/NAME`.
    pub(crate) fn ship(&self, program: &Path, name: &str) {
        install(program, &self.folder.path().join(name));
    }

    /// The file of this name in `/opt/hello`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `systemctl` in it, to its end.
    pub(crate) fn systemctl(&self, words: &[&str]) -> Ctl {
        Ctl(self.enter().arg("systemctl").args(words).output().expect("nsenter can be run"))
    }

    /// As [`Systemd::systemctl`], while the test goes on.
    pub(crate) async fn systemctl_beside(&self, words: &[&str]) -> Ctl {
        let mut command = tokio::process::Command::from(self.enter());
        let ended = command.arg("systemctl").args(words).kill_on_drop(true).output();
        let output = tokio::time::timeout(PATIENCE, ended).await.expect("it ends in time");
        Ctl(output.expect("nsenter can be run"))
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--all"]).stdin(Stdio::null());
        command
    }

    /// What `systemctl show` says of this property of a unit.
    pub(crate) fn show(&self, unit: &str, property: &str) -> String {
        let shown = self.systemctl(&["show", "--value", "--property", property, unit]);
        String::from_utf8_lossy(&shown.0.stdout).trim().to_owned()
    }

    /// Waits until the property is as wanted; what it is then.
    pub(crate) async fn until(&self, unit: &str, property: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self.show(unit, property);
            if wanted(&shown) {
                return shown;
            }
            assert!(Instant::now() < deadline, "{property} of {unit} is {shown:?}:\n{}", self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// The service's main process, as PIDs are in there.
    pub(crate) fn main_pid(&self, unit: &str) -> u32 {
        self.show(unit, "MainPID").parse().expect("a number")
    }

    /// What the boot and the service have written.
    pub(crate) fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.file(name)).unwrap_or_default();
        read("boot.log") + &read("hello.log")
    }

    /// Where the service listens, by the first line that says so.
    pub(crate) async fn address(&self) -> SocketAddr {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = fs::read_to_string(self.file("hello.log")).unwrap_or_default();
            let told = log.lines().filter(|line| line.contains("endless: listening"));
            let address =
                told.filter_map(|line| line.split("address=").nth(1)?.split(' ').next()?.parse().ok()).next();
            if let Some(address) = address {
                return address;
            }
            assert!(Instant::now() < deadline, "it does not listen:\n{}", self.log());
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("---- systemd and its service\n{}---- end of it", self.log());
        }
        // The end of a namespace's first process is the end of all. Both are children of this test.
        if self.init != 0 {
            kill(Pid::from_raw(self.init.cast_signed()), Signal::SIGKILL).ok();
        }
        self.unshare.kill().ok();
        self.unshare.wait().ok();
    }
}

/// In its groups from its first moment on, and not beyond the test's end, however that comes.
fn start(unshare: &Path, folder: &TempDir, groups: &Groups, log: &fs::File) -> Child {
    let join: String =
        groups.0.iter().map(|group| format!("echo $$ > '{}/cgroup.procs'; ", group.display())).collect();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("set -e; {join} exec setpriv --pdeathsig KILL \"$@\""), "sh"]).arg(unshare);
    command.args([
        "--fork",
        "--kill-child",
        "--pid",
        "--mount-proc",
        "--mount",
        "--uts",
        "--ipc",
        "--cgroup",
    ]);
    command.args(["sh", BOOT]).arg(folder.path()).stdin(Stdio::null());
    let log = || log.try_clone().expect("a descriptor");
    command.stdout(log()).stderr(log()).process_group(0).spawn().expect("sh can be run")
}

/// A control group in each hierarchy that systemd uses, below the one that this test is in.
#[derive(Debug)]
struct Groups(Vec<PathBuf>);

impl Groups {
    /// `None` where this user may not make one.
    fn make() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("endless-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let text = fs::read_to_string("/proc/self/cgroup").expect("Linux has it");
        let mut groups = Self(Vec::new());
        for (hierarchy, path) in text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')) {
            let Some(root) = root_of(hierarchy) else { continue };
            let group = root.join(path.trim_start_matches('/')).join(&name);
            if let Err(error) = fs::create_dir(&group) {
                eprintln!("skipped: no control group can be made here ({}: {error})", group.display());
                return None;
            }
            groups.0.push(group);
        }
        Some(groups)
    }
}

/// Where a hierarchy is mounted; those that systemd leaves alone do not matter.
fn root_of(hierarchy: &str) -> Option<PathBuf> {
    let roots = match hierarchy {
        "" if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() => "/sys/fs/cgroup",
        "" => "/sys/fs/cgroup/unified",
        "name=systemd" => "/sys/fs/cgroup/systemd",
        "memory" => "/sys/fs/cgroup/memory",
        "pids" => "/sys/fs/cgroup/pids",
        "devices" => "/sys/fs/cgroup/devices",
        _ => return None,
    };
    Some(PathBuf::from(roots)).filter(|root| root.is_dir())
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.0.iter().for_each(|group| remove(group));
    }
}

/// With those in it; what has ended may take a moment to leave it.
fn remove(group: &Path) {
    let inner = fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path());
    inner.filter(|path| path.is_dir()).for_each(|path| remove(&path));
    for _ in 0..100 {
        if fs::remove_dir(group).is_ok() || !group.exists() {
            return;
        }
        thread::sleep(POLL);
    }
}

/// A unit that is in the documentation, with other values where the test needs them.
pub(crate) fn documented(name: &str, changes: &[(&str, &str)]) -> String {
    let file = format!("{}/docs/systemd/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("cannot read {file}: {error}"));
    changes.iter().fold(text, |text, (line, changed)| {
        assert!(text.contains(line), "no {line:?} in {file}");
        text.replacen(line, changed, 1)
    })
}
