//! `endlessctl`, as operators run it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::{ExitStatus, Stdio};

use serde_json::Value;
use tokio::process::{Child, Command};

use super::client::patiently;
use super::process::{App, Mark, PATIENCE, stat_fields};
use super::told::supervised;

/// What it has said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// What it said of a thing that was done.
    #[track_caller]
    pub(crate) fn done(&self) -> &str {
        assert!(self.status.success() && self.err.is_empty(), "{self:?}");
        self.out.trim_end()
    }

    /// Why something was not done.
    #[track_caller]
    pub(crate) fn failed(&self) -> &str {
        assert!(self.status.code() == Some(1) && self.out.is_empty(), "{self:?}");
        self.err.trim_end().strip_prefix("endlessctl: ").unwrap_or_else(|| panic!("{self:?}"))
    }

    /// What it said of a command line that is none.
    #[track_caller]
    pub(crate) fn misused(&self) -> &str {
        assert!(self.status.code() == Some(2) && self.out.is_empty(), "{self:?}");
        &self.err
    }
}

/// One under way; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Ctl(Child);

impl Ctl {
    /// Begins `endlessctl COMMAND PID`.
    pub(crate) fn begin(command: &str, pid: u32) -> Self {
        Self::begin_with(&[command, &pid.to_string()])
    }

    pub(crate) fn begin_with(arguments: &[&str]) -> Self {
        let mut command = Command::new(Self::program());
        command.args(arguments);
        Self::run(command)
    }

    /// By another way to start it.
    pub(crate) fn run(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Self(command.spawn().expect("endlessctl can be started"))
    }

    pub(crate) fn program() -> &'static str {
        env!("CARGO_BIN_EXE_endlessctl")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id().expect("it has not been waited for")
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Waits for its end.
    pub(crate) async fn said(self) -> Said {
        let output = patiently(self.0.wait_with_output()).await.expect("it can be waited for");
        let text = |bytes| String::from_utf8(bytes).expect("it says text");
        Said { status: output.status, out: text(output.stdout), err: text(output.stderr) }
    }
}

/// Runs `endlessctl COMMAND PID`.
pub(crate) async fn ctl(command: &str, pid: u32) -> Said {
    Ctl::begin(command, pid).said().await
}

/// The same program without a supervisor and with one.
pub(crate) fn both_ways(command: impl Fn() -> std::process::Command) -> [std::process::Command; 2] {
    [command(), supervised(command())]
}

/// Starts it, and waits until it serves.
pub(crate) async fn serving(command: std::process::Command) -> App {
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    app
}

/// Where a process is asked.
pub(crate) fn desk_of(pid: u32) -> SocketAddr {
    let fields = stat_fields(pid).expect("it lives");
    let started = &fields[19];
    let namespace = fs::metadata("/proc/self/ns/pid").expect("it is one of some").ino();
    SocketAddr::from_abstract_name(format!("endless-{pid}-{started}-{namespace}")).expect("a name")
}

/// A connection to where a process is asked, without a look at who it is.
#[derive(Debug)]
pub(crate) struct Visitor(UnixStream);

impl Visitor {
    pub(crate) fn come(pid: u32) -> Self {
        Self(UnixStream::connect_addr(&desk_of(pid)).expect("it listens"))
    }

    /// Says as much of it as is taken.
    pub(crate) fn say(&self, text: &str) -> bool {
        (&self.0).write_all(text.as_bytes()).is_ok()
    }

    /// Waits for the answer; `None` where there is none any more.
    pub(crate) fn answer(&self) -> Option<Value> {
        self.0.set_read_timeout(Some(PATIENCE)).expect("a time");
        let mut line = String::new();
        let read = BufReader::new(&self.0).read_line(&mut line);
        let is_late = read.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!is_late, "no answer and no end within {PATIENCE:?}");
        read.ok().filter(|count| *count > 0).map(|_| serde_json::from_str(&line).expect("a line of JSON"))
    }
}
