//! A new binary in the old one's place takes over, however the old one was started, and nobody notices.

mod support;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::{App, Client, Kind, Load, Response, example_with, get, install, until_busy};
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn the_new_binary_answers_and_the_old_one_finishes() {
    let folder = Folder::with_a();
    let app = App::start(Command::new(folder.path("app")));
    let address = app.address().await;
    let think = Duration::ZERO..=Duration::from_millis(5);
    let kinds = [Kind::Fresh, Kind::KeepAlive { think }, Kind::Slow { path: "/sleep?ms=2000".to_owned() }];
    let loads = kinds.map(|kind| Load::new(address, kind).connections(4).start());
    for load in &loads {
        load.until_answered(4).await;
    }

    install(&variant("B"), &folder.path("app"));
    app.restart().await;
    for load in loads {
        load.until(|report| report.versions.contains_key("B")).await;
        let report = load.stop().await;
        report.assert_clean();
        assert!(report.versions.keys().eq(["A", "B"]), "{report}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_request_in_flight_is_finished_by_the_old_binary() {
    let folder = Folder::with_a();
    let app = App::start(Command::new(folder.path("app")));
    let address = app.address().await;
    let mut client = Client::connect(address).await;
    client.ask("/sleep?ms=2000").await;
    until_busy(address, 1, 1).await;

    install(&variant("B"), &folder.path("app"));
    app.restart().await;
    assert_eq!(version_now(&app).await, "B");
    let response = client.answer().await;
    assert_eq!((version(&response).as_str(), response.text().as_str()), ("A", "slept 2000"));
    assert_eq!(version(&client.get("/hello").await), "B", "the connection has moved");
    assert!(app.exit(app.first_pid()).await.success());
    app.stop().await;
}

#[tokio::test]
async fn a_symlink_in_the_path_that_moved_is_followed() {
    let folder = Folder::with_a();
    fs::create_dir(folder.path("B")).expect("our own folder");
    install(&variant("B"), &folder.path("B/app"));
    folder.point("current", ".");
    let app = App::start(Command::new(folder.path("current/app")));
    assert_eq!(version_now(&app).await, "A");

    folder.point("current", "B");
    app.restart().await;
    assert_eq!(version_now(&app).await, "B");
    app.stop().await;
}

/// The executable's own path would lead to A for ever: only the place in `PATH` leads to B.
#[tokio::test]
async fn a_bare_name_is_found_in_path() {
    let folder = Folder::with_a();
    fs::create_dir(folder.path("bin")).expect("our own folder");
    folder.point("bin/endless-app", "../app");
    let mut command = Command::new("endless-app");
    command.env("PATH", format!("/nowhere:{}:/usr/bin", folder.path("bin").display()));
    let app = App::start(command);
    assert_eq!(version_now(&app).await, "A");

    install(&variant("B"), &folder.path("app-b"));
    folder.point("bin/endless-app", "../app-b");
    app.restart().await;
    assert_eq!(version_now(&app).await, "B");
    app.stop().await;
}

/// As bash's `exec -a` does: what the process is called is not where its program is.
#[tokio::test]
async fn a_name_that_is_no_path_restarts_the_executable() {
    restarts_under_the_name("worker: no such program").await;
}

#[tokio::test]
async fn a_name_of_another_program_restarts_the_executable() {
    restarts_under_the_name("sh").await;
}

#[tokio::test]
async fn a_path_of_another_program_restarts_the_executable() {
    restarts_under_the_name("/bin/sh").await;
}

async fn restarts_under_the_name(name: &str) {
    let folder = Folder::with_a();
    let mut command = Command::new(folder.path("app"));
    command.arg0(name);
    let app = App::start(command);
    assert_eq!(version_now(&app).await, "A");

    install(&variant("B"), &folder.path("app"));
    let successor = app.restart().await;
    assert_eq!(version_now(&app).await, "B");
    assert_eq!(arguments(successor), [OsStr::new(name)]);
    app.stop().await;
}

#[tokio::test]
async fn arguments_environment_and_folder_arrive_the_same() {
    let folder = Folder::with_a();
    let mut command = Command::new("./app");
    command.args(["", "two words", "--flag=x"]).arg(OsStr::from_bytes(b"\xFF not UTF-8")).args(["\n", ""]);
    command.env("EMPTY", "").env("WORDS", "two words=and more\n").env("BYTES", OsStr::from_bytes(b"\xFF"));
    command.current_dir(folder.path(""));
    let app = App::start(command);
    app.address().await;
    let before = Started::of(app.first_pid());
    assert_eq!(before.arguments.len(), 7);
    assert!(before.environment.contains(OsStr::from_bytes(b"BYTES=\xFF")));

    // Of two generations, because the second one was started by endless itself.
    for _ in 0..2 {
        let successor = app.restart().await;
        assert_eq!(Started::of(successor), before);
    }
    app.stop().await;
}

/// What a process was started with, as the kernel tells.
#[derive(Debug, PartialEq)]
struct Started {
    arguments: Vec<OsString>,
    /// Without the variable by which a predecessor introduces itself.
    environment: BTreeSet<OsString>,
    folder: PathBuf,
}

impl Started {
    fn of(pid: u32) -> Self {
        let environment = nul_separated(&format!("/proc/{pid}/environ")).into_iter();
        let is_own = |variable: &OsString| variable.as_bytes().starts_with(b"ENDLESS_HANDOVER=");
        Self {
            arguments: arguments(pid),
            environment: environment.filter(|variable| !is_own(variable)).collect(),
            folder: fs::read_link(format!("/proc/{pid}/cwd")).expect("it lives"),
        }
    }
}

fn arguments(pid: u32) -> Vec<OsString> {
    nul_separated(&format!("/proc/{pid}/cmdline"))
}

fn nul_separated(file: &str) -> Vec<OsString> {
    let bytes = fs::read(file).expect("it lives");
    let bytes = bytes.strip_suffix(b"\0").expect("each text ends with NUL");
    bytes.split(|byte| *byte == 0).map(|text| OsStr::from_bytes(text).to_owned()).collect()
}

/// A folder with the program `app`, whose variant A it is at first.
struct Folder(TempDir);

impl Folder {
    fn with_a() -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder"));
        install(&variant("A"), &folder.path("app"));
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes the symlink `name` point to `target`, in one step for everybody who looks.
    fn point(&self, name: &str, target: impl AsRef<Path>) {
        let temporary = self.path(&format!("{name}.new"));
        symlink(target, &temporary).expect("our own folder");
        fs::rename(&temporary, self.path(name)).expect("our own folder");
    }
}

fn variant(version: &str) -> PathBuf {
    example_with("test_declarative", &[], &[("APP_VERSION", version)])
}

/// Which build answers a new connection.
async fn version_now(app: &App) -> String {
    version(&get(app.address().await, "/hello").await)
}

fn version(response: &Response) -> String {
    assert_eq!(response.status, 200);
    response.header("x-version").expect("the app names its build").to_owned()
}
