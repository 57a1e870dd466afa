//! As in a container: the program is the first process of a PID namespace, or the child of an init or of a
//! shell that is.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use support::{
    App, Client, Mark, alive, busy, children, example, get, install, patiently, shared_folder, supervised,
    tool,
};

/// A program in a PID namespace. All PIDs here are those outside of it.
struct Container {
    app: App,
    /// The first process in it.
    init: u32,
    /// The process to signal.
    main: u32,
}

impl Container {
    /// Runs the words as a container runtime would; `None` if this machine does not allow it.
    async fn start(words: &[&Path], under: impl FnOnce(Command) -> Command) -> Option<Self> {
        let mut command = unshare()?;
        command.args(words);
        let app = App::start(under(command));
        let line = app.wait_for_message(Mark::START, "serving").await;
        let main = line.field("supervisor").or(line.field("pid")).and_then(|pid| pid.parse().ok());
        let main = outside(&app, main.expect("the line names it"));
        let [init] = children(app.first_pid())[..] else { panic!("unshare has one child") };
        Some(Self { app, init, main })
    }

    async fn supervised(words: &[&Path]) -> Option<Self> {
        Self::start(words, supervised).await
    }

    /// One more generation serves.
    async fn restart(&self, whom: u32) {
        let mark = self.app.mark();
        self.app.signal(whom, Signal::SIGHUP);
        let line = self.app.wait_for_message(mark, "handed over").await;
        let answer = get(self.app.address().await, "/hello").await;
        assert_eq!((answer.header("x-pid"), answer.text().as_str()), (line.field("successor"), "WORLD!"));
    }

    /// Waits until a process in it has ended and is reaped, whoever does it.
    async fn is_reaped(&self, pid: u32) {
        let gone = async {
            while Path::new(&format!("/proc/{pid}")).exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        patiently(gone).await;
    }

    /// Nothing runs in it but these, and no dead are left.
    async fn holds(&self, count: usize) {
        let come = async {
            while self.app.processes().len() != count + 1 || !self.app.zombies().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        patiently(come).await;
        assert!(alive(self.init) && alive(self.main));
    }

    async fn busy(&self) -> Client {
        busy(&self.app, "/sleep?ms=500").await
    }

    /// Stops it; returns what the container's runtime would be told.
    async fn stop(self, whom: u32) -> ExitStatus {
        self.app.signal(whom, Signal::SIGTERM);
        let status = self.app.exit(self.app.first_pid()).await;
        self.app.ended().await;
        status
    }
}

/// What a program is started by that is to be the first of a namespace, with a `/proc` that shows it.
fn unshare() -> Option<Command> {
    let unshare = tool("unshare")?;
    let mut options = vec!["--pid", "--fork", "--mount-proc", "--kill-child"];
    if !geteuid().is_root() {
        options.extend(["--user", "--map-root-user"]);
    }
    let mut command = Command::new(&unshare);
    command.args(&options);
    let tried = Command::new(&unshare).args(&options).arg("true").stderr(Stdio::null()).status();
    if tried.is_ok_and(|status| status.success()) {
        return Some(command);
    }
    eprintln!("skipped: this user may not make a PID namespace here");
    None
}

/// The PID outside of the namespace of what has `inside` in it.
fn outside(app: &App, inside: u32) -> u32 {
    let is_it = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:\t")).unwrap_or_default();
        // From the outermost to its own; there is one alone for what is not in a namespace of its own.
        pids.split_once('\t')
            .is_some_and(|(_, pids)| pids.split('\t').next_back() == Some(&inside.to_string()))
    };
    app.processes().into_iter().find(is_it).expect("it lives")
}

/// Starts a process that outlives who started it.
async fn orphan(container: &Container) -> u32 {
    let answer = get(container.app.address().await, "/orphan").await;
    outside(&container.app, answer.text().trim().parse().expect("its PID"))
}

/// An init that passes signals on, or none, around a program that is one.
async fn stays_through_restarts(before: &[&Path], processes: usize) {
    let program = example("test_declarative");
    let Some(container) = Container::supervised(&[before, &[&program]].concat()).await else { return };
    assert_eq!(container.init == container.main, before.is_empty());
    for round in 0..support::restarts(5, 20) {
        container.restart(if round % 2 == 0 { container.init } else { container.main }).await;
    }
    container.holds(processes).await;
    let (init, mut client) = (container.init, container.busy().await);
    let (status, answer) = tokio::join!(container.stop(init), client.answer());
    assert_eq!((status.code(), answer.text().as_str()), (Some(0), "slept 500"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pid_1_stays_through_restarts_and_ends_with_0() {
    stays_through_restarts(&[], 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_tini_it_stays_through_restarts_and_ends_with_0() {
    let Some(tini) = tool("tini") else { return };
    stays_through_restarts(&[&tini, Path::new("--")], 3).await;
}

/// `tini -g` sends to all of the group.
#[tokio::test(flavor = "multi_thread")]
async fn under_a_tini_that_sends_to_the_group_too() {
    let Some(tini) = tool("tini") else { return };
    stays_through_restarts(&[&tini, Path::new("-g"), Path::new("--")], 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pid_1_reaps_orphans() {
    let program = example("test_declarative");
    let Some(container) = Container::supervised(&[&program]).await else { return };
    let orphans = [orphan(&container).await, orphan(&container).await];
    container.restart(container.main).await;
    for pid in orphans {
        container.is_reaped(pid).await;
    }
    container.holds(2).await;
    let init = container.init;
    assert_eq!(container.stop(init).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn pid_1_replaces_a_generation_that_dies() {
    let program = example("test_declarative");
    let Some(container) = Container::supervised(&[&program]).await else { return };
    for _ in 0..3 {
        let mark = container.app.mark();
        let [serving] = children(container.main)[..] else { panic!("one generation serves") };
        container.app.signal(serving, Signal::SIGKILL);
        container.app.wait_for_message(mark, "serving").await;
        assert_eq!(get(container.app.address().await, "/hello").await.text(), "WORLD!");
    }
    container.holds(2).await;
    let init = container.init;
    assert_eq!(container.stop(init).await.code(), Some(0));
}

/// As PID 1 a process is not ended by a default action. One that had a hook once stays so.
#[tokio::test(flavor = "multi_thread")]
async fn pid_1_is_not_ended_by_a_signal_that_has_no_hook() {
    let folder = shared_folder();
    let path = folder.path().join("app");
    install(&example("test_hooked"), &path);
    let Some(container) = Container::supervised(&[&path]).await else { return };
    for program in ["test_hooked", "test_declarative"] {
        install(&example(program), &path);
        container.restart(container.main).await;
        for signal in [Signal::SIGQUIT, Signal::SIGALRM, Signal::SIGTSTP] {
            container.app.signal(container.main, signal);
        }
        // Everything before it has been dealt with.
        container.restart(container.main).await;
    }
    container.holds(2).await;
    let init = container.init;
    assert_eq!(container.stop(init).await.code(), Some(0));
}

/// A script that ends as its last program does; with `exec` that is the first process itself.
async fn is_restarted_in_an_entrypoint(exec: &str, processes: usize) {
    let folder = shared_folder();
    let (draft, script) = (folder.path().join("draft"), folder.path().join("entrypoint"));
    fs::write(&draft, format!("#!/bin/sh\n: prepares\n{exec} \"$@\"\n")).expect("our own folder");
    fs::set_permissions(&draft, Permissions::from_mode(0o755)).expect("our own file");
    install(&draft, &script);
    let program = example("test_declarative");
    let Some(container) = Container::supervised(&[&script, &program]).await else { return };
    assert_eq!(container.init == container.main, exec == "exec");
    for _ in 0..support::restarts(2, 20) {
        container.restart(container.main).await;
    }
    container.holds(processes).await;
    let main = container.main;
    assert_eq!(container.stop(main).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_restarted_in_an_entrypoint_that_execs_it() {
    is_restarted_in_an_entrypoint("exec", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_restarted_in_an_entrypoint_that_waits_for_it() {
    is_restarted_in_an_entrypoint("", 3).await;
}

/// Its end would end the container.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_supervisor_pid_1_refuses_to_be_restarted() {
    let Some(container) = Container::start(&[&example("test_declarative")], |command| command).await else {
        return;
    };
    let mark = container.app.mark();
    container.app.signal(container.main, Signal::SIGHUP);
    let line = container.app.wait_for_message(mark, "restart refused").await;
    assert_eq!(line.field("pid"), Some("1"));
    assert!(line.field("reason").is_some_and(|reason| reason.contains("supervise = true")), "{line}");
    assert_eq!(get(container.app.address().await, "/hello").await.header("x-pid"), Some("1"));
    let init = container.init;
    assert_eq!(container.stop(init).await.code(), Some(0));
}
