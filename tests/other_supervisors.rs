//! Supervisors of other kinds, supervisord and runit, above a service that is restarted again and again: what
//! they have started stays, and they never see it end.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::{
    App, Kind, Line, Load, Mark, PATIENCE, Running, children, example, here, restarted, restarts,
    shared_folder, shown, supervisor_of, tool,
};
use tempfile::TempDir;

/// One that runs a service and is told what to do by a command of its own.
struct Site {
    supervisor: App,
    control: PathBuf,
    folder: TempDir,
    /// The PID that it has started.
    service: u32,
}

impl Site {
    async fn open(mut supervisor: Command, control: PathBuf, folder: TempDir) -> Self {
        supervisor.current_dir(folder.path()).env("ENDLESS_SUPERVISE", "true");
        let supervisor = App::start(supervisor);
        let service = supervisor_of(&supervisor).await;
        Self { supervisor, control, folder, service }
    }

    async fn load(&self) -> Running {
        let kind = Kind::Both { think: Duration::ZERO..=Duration::from_millis(20), bytes: 3000 };
        Load::new(self.supervisor.address().await, kind).connections(4).staying().start()
    }

    /// What its command says; it must do what it is told.
    fn tell(&self, words: &[&str]) -> String {
        let mut command = Command::new(&self.control);
        let output = command.args(words).current_dir(self.folder.path()).output().expect("it can be run");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {}\n{said}{error}", output.status);
        said
    }

    /// Is restarted by `order`; after each time, `status` says that the first process runs.
    async fn stays_through_restarts(&self, order: &[&str], status: &[&str], runs: &str) {
        let load = self.load().await;
        let runs = runs.replace("PID", &self.service.to_string());
        let mut successor = 0;
        for _ in 0..restarts(5, 20) {
            let mark = self.supervisor.mark();
            self.tell(order);
            successor = restarted(&self.supervisor, mark).await;
            load.until_answered_by(successor).await;
            let told = self.tell(status);
            assert!(told.contains(&runs), "no {runs:?} in {told:?}");
        }
        load.stop().await.assert_clean();
        assert!(children(self.service).contains(&successor));
    }

    /// Waits for a line that says so.
    async fn says(&self, mark: Mark, text: &str) -> Line {
        self.supervisor.wait_for(mark, |line| line.text.contains(text), PATIENCE).await
    }

    fn has_said(&self, text: &str) -> bool {
        self.supervisor.lines().iter().any(|line| line.text.contains(text))
    }

    /// Ends the supervisor too.
    async fn end(self) {
        let pid = self.supervisor.first_pid();
        self.supervisor.signal(pid, Signal::SIGTERM);
        self.supervisor.exit(pid).await;
        self.supervisor.ended().await;
    }
}

fn write(path: &Path, mode: u32, text: &str) {
    fs::write(path, text).expect("our own folder can be written");
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("our own file");
}

/// What Debian's `supervisord.conf` has, in a folder.
const SUPERVISORD: &str = "[supervisord]
nodaemon=true
logfile=%(here)s/log
pidfile=%(here)s/pid
[unix_http_server]
file=%(here)s/socket
[supervisorctl]
serverurl=unix://%(here)s/socket
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
";

/// The program's lines come among its own.
const ONE_OUTPUT: &str = "redirect_stderr=true\nstdout_logfile=/dev/fd/1\nstdout_logfile_maxbytes=0\n";

#[tokio::test(flavor = "multi_thread")]
async fn under_supervisord_it_stays_through_restarts_and_is_never_seen_as_exited() {
    let (Some(program), Some(control)) = (tool("supervisord"), tool("supervisorctl")) else { return };
    let folder = shared_folder();
    let app = example("test_declarative").display().to_string();
    let section = here(shown("ini", "[program:app]"), &[("/srv/app/bin/app", &app)]);
    write(&folder.path().join("supervisord.conf"), 0o644, &[SUPERVISORD, &section, ONE_OUTPUT].concat());
    let mut command = Command::new(program);
    command.args(["-c", "supervisord.conf"]);
    let site = Site::open(command, control, folder).await;
    site.says(Mark::START, "app entered RUNNING state").await;

    site.stays_through_restarts(&["signal", "HUP", "app"], &["status", "app"], "pid PID, uptime").await;
    assert!(!site.has_said("exited: app"));

    let mark = site.supervisor.mark();
    site.tell(&["stop", "app"]);
    let line = site.says(mark, "stopped: app").await;
    assert!(line.text.contains("exit status 0"), "{line}");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_runit_it_stays_through_restarts_and_is_never_finished() {
    let (Some(program), Some(control)) = (tool("runsv"), tool("sv")) else { return };
    let folder = shared_folder();
    let service = folder.path().join("app");
    fs::create_dir(&service).expect("our own folder can be written");
    let app = example("test_declarative").display().to_string();
    write(&service.join("run"), 0o755, &here(shown("sh", "exec 2>&1"), &[("/srv/app/bin/app", &app)]));
    write(&service.join("finish"), 0o755, "#!/bin/sh\necho \"finished $1 $2\"\n");
    let mut command = Command::new(program);
    command.arg("app");
    let site = Site::open(command, control, folder).await;

    site.stays_through_restarts(&["hup", "./app"], &["status", "./app"], "run: ./app: (pid PID)").await;
    assert!(!site.has_said("finished "));

    let mark = site.supervisor.mark();
    site.tell(&["-w", "60", "down", "./app"]);
    assert_eq!(site.says(mark, "finished ").await.text, "finished 0 0");
    site.end().await;
}
