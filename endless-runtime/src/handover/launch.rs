//! What a successor is started from: the program, the arguments and the environment that this process itself
//! was started with.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal as Number};
use nix::unistd::{Pid, execve, getpid};

use super::environment::{Credentials, SUPERVISOR_VARIABLE, VARIABLE};
use crate::signal::{Signal, set_of};

/// How to start one more of this program. Looked up once, at endless's first call.
#[derive(Debug)]
pub(crate) struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<OsString>,
    /// What the first generation was started with ignored: an exec resets nothing else.
    ignored: Vec<Signal>,
}

impl Launch {
    /// As this process was started; with another program if the settings name one. `ignored` are the signals
    /// that were ignored at the very start.
    pub(crate) fn of_this_process(configured: Option<&Path>, ignored: Vec<Signal>) -> io::Result<Self> {
        let arguments: Vec<OsString> = match nul_separated("/proc/self/cmdline") {
            Some(arguments) if !arguments.is_empty() => arguments,
            _ => env::args_os().collect(),
        };
        let mut environment = nul_separated("/proc/self/environ").unwrap_or_else(variables);
        environment.retain(is_passed_on);
        let program = match configured {
            Some(path) => absolute(path)?,
            None => program(arguments.first())?,
        };
        Ok(Self { program, arguments, environment, ignored })
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Starts a generation that finds `channel` open, and the signals of `blocked` blocked until it is there
    /// to handle them. `by_supervisor` says who does.
    ///
    /// # Errors
    ///
    /// What `posix_spawn(3)` says: no such file, not executable, no more processes.
    pub(crate) fn start(&self, channel: OwnedFd, blocked: &[Signal], by_supervisor: bool) -> io::Result<Pid> {
        self.start_as(&self.program, channel, blocked, by_supervisor)
    }

    /// As [`Launch::start`], from another file.
    pub(crate) fn start_as(
        &self,
        program: &Path,
        channel: OwnedFd,
        blocked: &[Signal],
        by_supervisor: bool,
    ) -> io::Result<Pid> {
        // The number that the successor finds it under is reserved by a descriptor of this process, so that
        // dup2 in the child can hit nothing that the user left open.
        let place = channel.try_clone()?;
        let credentials = Credentials::new(&channel, &place, by_supervisor, self.ignored.clone())?;
        let mut environment = self.environment.clone();
        if !by_supervisor {
            // Who succeeds the main process of a service is watched in its place.
            environment.retain(|variable| *variable != *format!("WATCHDOG_PID={}", getpid()));
        }
        environment.push(format!("{VARIABLE}={credentials}").into());
        self.spawn(program, &channel, &place, blocked, &environment)
    }

    /// Starts what finds `state` open, under the number that its `variable` names.
    ///
    /// # Errors
    ///
    /// As [`Launch::start`].
    pub(crate) fn rehearse(
        &self,
        program: &Path,
        state: &OwnedFd,
        blocked: &[Signal],
        variable: impl FnOnce(RawFd) -> String,
    ) -> io::Result<Pid> {
        let place = state.try_clone()?;
        let mut environment = self.environment.clone();
        environment.push(variable(place.as_raw_fd()).into());
        self.spawn(program, state, &place, blocked, &environment)
    }

    /// The process finds `given` under the number of `place`.
    fn spawn(
        &self,
        program: &Path,
        given: &OwnedFd,
        place: &OwnedFd,
        blocked: &[Signal],
        environment: &[OsString],
    ) -> io::Result<Pid> {
        let mut actions = PosixSpawnFileActions::init()?;
        actions.add_dup2(given.as_raw_fd(), place.as_raw_fd())?;
        let pid = posix_spawn(
            c_string(program.as_os_str().as_bytes())?.as_c_str(),
            &actions,
            &attributes(blocked)?,
            &c_strings(&self.arguments)?,
            &c_strings(environment)?,
        )?;
        Ok(pid)
    }

    /// Turns this process into what `program` is, started as it was itself but for one more variable; returns
    /// only why it has not.
    pub(crate) fn exec(&self, program: &Path, variable: &str) -> io::Error {
        let try_exec = || {
            let mut environment = self.environment.clone();
            environment.push(variable.into());
            let path = c_string(program.as_os_str().as_bytes())?;
            execve(&path, &c_strings(&self.arguments)?, &c_strings(&environment)?)?;
            Ok(())
        };
        try_exec().err().unwrap_or_else(|| io::Error::other("execve has returned"))
    }
}

/// A variable that is of no use to anybody but one process.
fn is_of_one_process(variable: &[u8]) -> bool {
    [VARIABLE, SUPERVISOR_VARIABLE]
        .iter()
        .any(|name| variable.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"=")))
}

fn attributes(blocked: &[Signal]) -> nix::Result<PosixSpawnAttr> {
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF)?;
    attributes.set_sigmask(&set_of(blocked))?;
    // Rust's runtime ignores it in this process; a program starts with its default.
    attributes.set_sigdefault(&SigSet::from(Number::SIGPIPE))?;
    Ok(attributes)
}

/// `argv[0]`, made absolute with its symlinks kept, so that a `current` that moves is followed. If that is
/// not what this process runs (`exec -a`, `ExecStart=@`), the executable's own path.
fn program(name: Option<&OsString>) -> io::Result<PathBuf> {
    let executable = env::current_exe()?;
    let named = name.and_then(|name| find(Path::new(name)));
    Ok(named.filter(|named| is_running(named, &executable)).unwrap_or(executable))
}

fn find(name: &Path) -> Option<PathBuf> {
    if has_folder(name.as_os_str()) {
        return absolute(name).ok();
    }
    let path = env::var_os("PATH")?;
    let found = env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())?;
    absolute(&found).ok()
}

fn has_folder(name: &OsStr) -> bool {
    name.as_bytes().contains(&b'/')
}

/// Its symlinks are kept. What leads up from the working directory, which has none in its name, is resolved,
/// so that the path does not lead through a folder that may be removed.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    if path.is_absolute() {
        return std::path::absolute(path);
    }
    let (mut folder, mut rest) = (env::current_dir()?, path.components());
    loop {
        let before = rest.clone();
        match rest.next() {
            Some(Component::CurDir) => {}
            Some(Component::ParentDir) => drop(folder.pop()),
            _ => return Ok(folder.join(before.as_path())),
        }
    }
}

/// By inode, of the very file that runs where the system shows it, else of what has its path now.
fn is_running(named: &Path, executable: &Path) -> bool {
    let inode = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let running = inode(Path::new("/proc/self/exe")).or_else(|| inode(executable));
    running.is_some() && inode(named) == running
}

/// Sockets of a socket activation belong to the process that they were given to.
fn is_passed_on(variable: &OsString) -> bool {
    let bytes = variable.as_bytes();
    !bytes.starts_with(b"LISTEN_") && !is_of_one_process(bytes)
}

fn nul_separated(file: &str) -> Option<Vec<OsString>> {
    let bytes = fs::read(file).ok()?;
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    Some(bytes.split(|byte| *byte == 0).map(|part| OsString::from_vec(part.to_vec())).collect())
}

fn variables() -> Vec<OsString> {
    let joined = env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    });
    joined.collect()
}

fn c_strings(texts: &[OsString]) -> io::Result<Vec<CString>> {
    texts.iter().map(|text| c_string(text.as_bytes())).collect()
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_this_process_alone_is_not_passed_on() {
        let passed = |text: &str| is_passed_on(&OsString::from(text));
        assert!(passed("PATH=/bin") && passed("ENDLESS_HAMMER_TIME=1s"));
        assert!(!passed("LISTEN_FDS=1") && !passed("LISTEN_PID=1") && !passed("ENDLESS_HANDOVER=3,4,5,"));
    }

    #[test]
    fn a_bare_name_is_looked_up_and_a_path_made_absolute() {
        assert!(find(Path::new("sh")).is_some_and(|path| path.is_absolute() && path.ends_with("sh")));
        assert_eq!(find(Path::new("/some/current/app")), Some("/some/current/app".into()));
        let here = env::current_dir().expect("a folder");
        assert_eq!(find(Path::new("./app")), Some(here.join("app")));
        let above = here.parent().expect("tests do not run in the root");
        assert_eq!(find(Path::new(".././current/../app")), Some(above.join("current/../app")));
    }
}
