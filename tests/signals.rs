//! What each signal does, who is meant by it, and what a terminal has to do with it.

mod support;

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use support::{
    App, Line, Mark, PATIENCE, Plan, Terminal, alive, answering_pid, busy, caught_up, children, count,
    declarative, example, get, imperative, install, patiently, received, status_when, successor_of,
};

async fn start(command: Command) -> App {
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    app
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_and_sigint_drain_and_exit() {
    for command in [declarative as fn() -> Command, imperative] {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let app = start(command()).await;
            let mut client = busy(&app, "/sleep?ms=2000").await;
            app.signal(app.first_pid(), signal);
            let answer = client.answer().await;
            assert_eq!((answer.text().as_str(), answer.close), ("slept 2000", true));
            client.closed().await;
            assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
            let line = app.wait_for_message(Mark::START, "draining").await;
            assert_eq!(line.field("cause"), Some(signal.to_string().as_str()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigusr1_runs_hooks_and_nothing_else() {
    for command in [declarative(), imperative()] {
        let app = start(command).await;
        let mark = app.mark();
        app.signal(app.first_pid(), Signal::SIGUSR1);
        received(&app, mark, Signal::SIGUSR1, app.first_pid()).await;
        assert_eq!(answering_pid(&app).await, app.first_pid());
        assert_eq!(count(&app, "draining", app.first_pid()), 0);
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_predecessor_that_drains_ignores_sighup() {
    let app = start(declarative()).await;
    let mut client = busy(&app, "/sleep?ms=2000").await;
    let successor = app.restart().await;
    let mark = app.mark();
    app.signal(app.first_pid(), Signal::SIGHUP);
    let line = app.wait_for_message(mark, "restart ignored: draining").await;
    assert_eq!(line.field("pid"), Some(app.first_pid().to_string().as_str()));
    assert_eq!(client.answer().await.text(), "slept 2000");
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    assert_eq!(answering_pid(&app).await, successor);
    assert_eq!(app.generations().len(), 2);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_predecessor_that_drains_takes_sigterm_for_itself() {
    let app = start(declarative()).await;
    let mut client = busy(&app, "/sleep?ms=2000").await;
    let successor = app.restart().await;
    let mark = app.mark();
    app.signal(app.first_pid(), Signal::SIGTERM);
    received(&app, mark, Signal::SIGTERM, app.first_pid()).await;
    assert_eq!(client.answer().await.text(), "slept 2000");
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    assert_eq!(answering_pid(&app).await, successor);
    assert_eq!((count(&app, "received", successor), count(&app, "draining", successor)), (0, 0));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_predecessor_that_drains_takes_sigusr2_and_two_sigints_for_itself() {
    for signals in [&[Signal::SIGUSR2][..], &[Signal::SIGINT, Signal::SIGINT]] {
        let app = start(declarative()).await;
        let mut client = busy(&app, "/hang").await;
        let successor = app.restart().await;
        app.wait_for_message(Mark::START, "draining").await;
        for signal in signals {
            let mark = app.mark();
            app.signal(app.first_pid(), *signal);
            received(&app, mark, *signal, app.first_pid()).await;
        }
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
        client.broken().await;
        assert_eq!(answering_pid(&app).await, successor);
        assert_eq!(count(&app, "received", successor), 0);
        app.stop().await;
    }
}

/// One restart if they were one for the kernel, or came before the successor was started; else one more is
/// remembered.
#[tokio::test(flavor = "multi_thread")]
async fn two_sighups_at_once_are_one_restart_or_two() {
    for _ in 0..support::restarts(5, 25) {
        let app = start(declarative()).await;
        let pid = Pid::from_raw(i32::try_from(app.first_pid()).expect("a PID fits"));
        // Not through the guard, which looks at all processes before each signal.
        let sent = [kill(pid, Signal::SIGHUP), kill(pid, Signal::SIGHUP)];
        assert_eq!(sent, [Ok(()), Ok(())]);
        let line = app.wait_for_message(Mark::START, "handed over").await;
        let mut last = successor_of(&line);
        if count(&app, "restart remembered", app.first_pid()) > 0 {
            let more =
                |line: &Line| line.message() == Some("handed over") && line.field("generation") == Some("2");
            let line = app.wait_for(Mark::START, more, PATIENCE).await;
            last = successor_of(&line);
        }
        assert_eq!(answering_pid(&app).await, last);
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
        app.stop().await;
        let handovers = app.lines().iter().filter(|line| line.message() == Some("handed over")).count();
        assert_eq!(app.generations().len(), handovers + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sighups_that_come_while_a_successor_starts_are_one_more_restart() {
    let mut command = declarative();
    let plan = Plan::of(&mut command);
    let app = start(command).await;
    plan.set("wait");
    app.signal(app.first_pid(), Signal::SIGHUP);
    status_when(app.address().await, |status| status["state"] == "restarting").await;
    for _ in 0..3 {
        let mark = app.mark();
        app.signal(app.first_pid(), Signal::SIGHUP);
        app.wait_for_message(mark, "restart remembered").await;
    }
    plan.set("");
    let first = app.wait_for_message(Mark::START, "handed over").await;
    let second = app.wait_for_message(first.after(), "handed over").await;
    assert_eq!(second.field("generation"), Some("2"));
    assert_eq!(answering_pid(&app).await, successor_of(&second));
    app.stop().await;
    assert_eq!(app.generations().len(), 3);
}

/// The successor as a script that waits before it becomes the program: whatever is sent meanwhile finds no
/// handler.
struct Waiting {
    app: App,
    successor: u32,
    gate: File,
    _folder: tempfile::TempDir,
}

impl Waiting {
    async fn start(program: &Path, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("app");
        install(program, &path);
        let mut command = Command::new(&path);
        command.args(arguments);
        let app = start(command).await;

        let gate = folder.path().join("gate");
        mkfifo(&gate, Mode::S_IRWXU).expect("a named pipe can be made");
        install_script(&path, &format!("read -r _ < {gate:?}; exec {program:?} \"$@\""));
        app.signal(app.first_pid(), Signal::SIGHUP);
        let successor = patiently(child(app.first_pid())).await;
        let gate = File::options().read(true).write(true).open(gate).expect("it can be opened");
        Self { app, successor, gate, _folder: folder }
    }

    /// Sends the signal while the successor has it blocked, and lets it go on when the signal has come.
    async fn signal(&mut self, signal: Signal) {
        self.app.signal(self.successor, signal);
        assert!(contains(signals(self.successor, "ShdPnd"), signal) && alive(self.successor));
        self.gate.write_all(b"go\n").expect("the pipe takes it");
        received(&self.app, Mark::START, signal, self.successor).await;
    }
}

/// A shell that starts no process itself keeps its signals blocked as it got them.
fn install_script(path: &Path, script: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, format!("#!/bin/sh\n{script}\n")).expect("our own folder can be written");
    fs::set_permissions(&draft, Permissions::from_mode(0o755)).expect("it is our own file");
    install(&draft, path);
}

async fn child(pid: u32) -> u32 {
    loop {
        if let [child] = children(pid)[..] {
            return child;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// A set of signals in `/proc/PID/status`: `SigBlk`, `ShdPnd`.
fn signals(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    set(&status, name)
}

fn set(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    u64::from_str_radix(line.expect("the kernel tells it"), 16).expect("a set in hexadecimal")
}

fn contains(set: u64, signal: Signal) -> bool {
    set >> (signal as i32 - 1) & 1 == 1
}

const BOTH: [(&str, &[&str]); 2] = [("test_declarative", &[]), ("test_imperative", &["127.0.0.1:0"])];

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_comes_before_the_handlers_is_kept() {
    for (program, arguments) in BOTH {
        let mut waiting = Waiting::start(&example(program), arguments).await;
        waiting.signal(Signal::SIGUSR1).await;
        let Waiting { app, successor, .. } = &waiting;
        let line = app.wait_for_message(Mark::START, "handed over").await;
        assert_eq!(successor_of(&line), *successor);
        assert_eq!(answering_pid(app).await, *successor);
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_that_comes_before_the_handlers_ends_the_successor_and_nothing_else() {
    for (program, arguments) in BOTH {
        let mut waiting = Waiting::start(&example(program), arguments).await;
        waiting.signal(Signal::SIGTERM).await;
        let Waiting { app, successor, .. } = &waiting;
        app.wait_for_message(Mark::START, "restart called off").await;
        assert_eq!(answering_pid(app).await, app.first_pid());
        assert!(!alive(*successor));
        app.stop().await;
    }
}

/// Also one that is asked to stop once its handlers stand, in the middle of its `main`.
#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_to_a_successor_that_starts_ends_it_and_nothing_else() {
    for mut command in [declarative(), imperative()] {
        let plan = Plan::of(&mut command);
        let app = start(command).await;
        plan.set("wait");
        app.signal(app.first_pid(), Signal::SIGHUP);
        let successor = patiently(child(app.first_pid())).await;
        app.signal(successor, Signal::SIGTERM);
        plan.set("");
        received(&app, Mark::START, Signal::SIGTERM, successor).await;
        app.wait_for_message(Mark::START, "restart called off").await;
        assert_eq!(answering_pid(&app).await, app.first_pid());
        assert!(!alive(successor));
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subprocess_of_a_successor_inherits_nothing_of_ours() {
    for command in [declarative(), imperative()] {
        let app = start(command).await;
        let address = app.address().await;
        let before = get(address, "/spawn").await.text();
        let successor = app.restart().await;
        let answer = get(address, "/spawn").await;
        assert_eq!(answer.header("x-pid"), Some(successor.to_string().as_str()));
        let found = answer.text();
        assert_eq!(set(&found, "SigBlk"), 0, "{found}");
        assert_eq!(set(&found, "SigIgn"), set(&before, "SigIgn"), "{found}");
        let descriptors = |listing: &str| listing.matches(" -> ").count();
        assert_eq!(descriptors(&found), descriptors(&before), "{found}\nbefore:\n{before}");
        for ours in ["socket:", "anon_inode:"] {
            assert!(!found.contains(ours), "{found}");
        }
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subprocess_of_a_successor_is_no_successor() {
    for command in [declarative(), imperative()] {
        let app = start(command).await;
        app.restart().await;
        let line = get(app.address().await, "/spawn_self").await.text();
        assert!(line.contains(" generation=0 ") && line.ends_with(" predecessor=none"), "{line:?}");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_closes_is_a_stop() {
    let terminal = Terminal::open();
    let Some(command) = terminal.command("", &example("test_declarative")) else { return };
    let app = start(command).await;
    let mut client = busy(&app, "/sleep?ms=1000").await;
    drop(terminal);
    let line = received(&app, Mark::START, Signal::SIGHUP, app.first_pid()).await;
    assert_eq!(line.field("sender"), Some("kernel"));
    assert_eq!(client.answer().await.text(), "slept 1000");
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    assert_eq!(app.generations().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_that_a_shell_passes_on_is_a_stop() {
    let terminal = Terminal::open();
    let shell = r#"sh -c 'trap "kill -HUP \$!" HUP; "$0" & wait; wait'"#;
    let Some(command) = terminal.command(shell, &example("test_declarative")) else { return };
    let app = start(command).await;
    let pid = app.serving_pid();
    assert_ne!(pid, app.first_pid());
    drop(terminal);
    let line = received(&app, Mark::START, Signal::SIGHUP, pid).await;
    assert_eq!(line.field("sender"), Some(app.first_pid().to_string().as_str()));
    app.wait_for_message(Mark::START, "drained").await;
    app.ended().await;
    assert_eq!(count(&app, "restarting", pid), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_nohup_a_terminal_that_closes_does_nothing_and_kill_restarts() {
    let terminal = Terminal::open();
    let Some(nohup) = support::tool("nohup") else { return };
    let before = nohup.display().to_string();
    let Some(command) = terminal.command(&before, &example("test_declarative")) else { return };
    let app = start(command).await;
    drop(terminal);
    caught_up(&app, app.first_pid(), app.first_pid()).await;
    assert_eq!(count(&app, "received", app.first_pid()), 1, "the SIGUSR1");
    assert_eq!(answering_pid(&app).await, app.first_pid());

    let successor = app.restart().await;
    assert_eq!(answering_pid(&app).await, successor);
    app.restart().await;
    app.stop().await;
}

/// The end of the predecessor, which leads the session, takes the terminal away from its successor.
#[tokio::test(flavor = "multi_thread")]
async fn under_nohup_it_does_nothing_to_a_successor_either() {
    let terminal = Terminal::open();
    let Some(nohup) = support::tool("nohup") else { return };
    let before = nohup.display().to_string();
    let Some(command) = terminal.command(&before, &example("test_declarative")) else { return };
    let app = start(command).await;
    let successor = app.restart().await;
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    drop(terminal);
    caught_up(&app, successor, successor).await;
    assert_eq!(count(&app, "received", successor), 1, "the SIGUSR1");
    assert_eq!(answering_pid(&app).await, successor);
    let next = app.restart().await;
    assert_eq!(answering_pid(&app).await, next);
    app.stop().await;
}
