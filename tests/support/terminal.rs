//! A pseudo-terminal, and what runs on it.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::Signal;

use super::tools::tool;

/// What a shell or `nohup` around the test runner may have it ignore, and all its children with it.
const MAY_BE_IGNORED: [Signal; 6] =
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];

/// Dropping it is what a user does who closes the window.
pub(crate) struct Terminal {
    master: PtyMaster,
    path: String,
}

impl Terminal {
    pub(crate) fn open() -> Self {
        // Close-on-exec from the first: another test may start a process at any moment, which would keep it
        // open.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).expect("a pseudo-terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("it is ours");
        let path = ptsname_r(&master).expect("it has a name");
        Self { master, path }
    }

    /// The program, with what comes before its name, in a session of its own on this terminal. Its outputs
    /// are those that it is given.
    pub(crate) fn command(&self, before: &str, program: &Path) -> Option<Command> {
        self.session(&format!(r#"{before} "$0" <"$TERMINAL""#), program)
    }

    /// An interactive bash that leads a session on this terminal. What is typed finds the program as `$APP`,
    /// and the outputs that the shell was given as 3 and 4.
    pub(crate) fn bash(&self, program: &Path) -> Option<Command> {
        let bash = tool("bash")?.display().to_string();
        let options = "--norc --noprofile --noediting -i";
        let outputs = r#"3>&1 4>&2 <"$TERMINAL" >"$TERMINAL" 2>"$TERMINAL""#;
        let mut command = self.session(&format!("{bash} {options} {outputs}"), program)?;
        command.env("APP", program).env("HISTFILE", "/dev/null").env("TERM", "dumb");
        Some(command)
    }

    /// What a shell would run as `command` with `program` as its `$0`.
    fn session(&self, command: &str, program: &Path) -> Option<Command> {
        let setsid = tool("setsid")?.display().to_string();
        let default_signals = default_signals()?;
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec {default_signals} {setsid} --ctty {command}")]).arg(program);
        shell.env("TERMINAL", &self.path).stdin(Stdio::null());
        Some(shell)
    }

    /// As if by its keyboard.
    pub(crate) fn type_keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("the terminal takes what is typed");
    }
}

/// What a command begins with that finds every signal at its default; nothing, where there is nothing to be
/// changed. If it cannot be changed, says so, and the test should return.
fn default_signals() -> Option<String> {
    let names: Vec<_> =
        MAY_BE_IGNORED.iter().map(|signal| signal.as_str().trim_start_matches("SIG")).collect();
    let changed = format!("env --default-signal={}", names.join(","));
    let understood =
        Command::new("sh").args(["-c", &format!("{changed} true")]).stderr(Stdio::null()).status();
    match (is_any_ignored(), understood.is_ok_and(|status| status.success())) {
        (false, _) => Some(String::new()),
        (true, true) => Some(changed),
        (true, false) => {
            eprintln!("skipped: the test was started with signals ignored, and env cannot change that");
            None
        }
    }
}

fn is_any_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("this process is there");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
    let ignored = u64::from_str_radix(ignored.expect("the kernel tells it"), 16).expect("in hexadecimal");
    MAY_BE_IGNORED.iter().any(|signal| ignored >> (*signal as i32 - 1) & 1 == 1)
}
