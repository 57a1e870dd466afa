//! A supervised service's PID file names the supervisor, from ready to the end.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use support::{Mark, Plan, Supervised, declarative, example};
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("app.pid")
    }

    fn program(&self) -> Command {
        let mut command = declarative();
        command.env("ENDLESS_PID_FILE", self.file());
        command
    }
}

fn assert_names(file: &Path, pid: u32) {
    assert_eq!(fs::read_to_string(file).expect("it is there"), format!("{pid}\n"));
}

fn inode(file: &Path) -> u64 {
    fs::metadata(file).expect("it is there").ino()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_written_at_ready_left_alone_by_restarts_and_removed_in_the_end() {
    let folder = Folder::new();
    let mut command = folder.program();
    let plan = Plan::of(&mut command);
    plan.set("wait");
    let service = Supervised::launch(command);
    service.hears(Mark::START, "INFO app: waiting").await;
    assert!(!folder.file().exists(), "written before ready");
    plan.set("");
    service.serving(Mark::START).await;
    written(&folder.file()).await;
    assert_names(&folder.file(), service.pid());
    let before = inode(&folder.file());

    service.hang_up().await.expect("nothing is against it");
    service.kill_serving().await;
    assert_names(&folder.file(), service.pid());
    assert_eq!(inode(&folder.file()), before, "it was written again");
    service.terminate().await;
    assert!(!folder.file().exists());
}

/// The generation that serves says so itself; the supervisor writes the file at the same time.
async fn written(file: &Path) {
    support::patiently(async {
        while !file.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn gone(file: &Path) {
    support::patiently(async {
        while file.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_where_the_generation_that_serves_wants_it() {
    let folder = Folder::new();
    let ship = |name| {
        let text = format!(
            "#!/bin/sh\nexport ENDLESS_PID_FILE={}\nexec {}\n",
            folder.path(name).display(),
            example("test_declarative").display()
        );
        fs::write(folder.path("draft"), text).expect("our own folder");
        fs::set_permissions(folder.path("draft"), Permissions::from_mode(0o755)).expect("our own file");
        fs::rename(folder.path("draft"), folder.path("app")).expect("our own folder");
    };
    ship("first.pid");
    let mut command = Command::new(folder.path("app"));
    command.env("ENDLESS_PROGRAM", folder.path("app"));
    let service = Supervised::start(command).await;
    written(&folder.path("first.pid")).await;
    assert_names(&folder.path("first.pid"), service.pid());

    ship("second.pid");
    service.hang_up().await.expect("nothing is against it");
    written(&folder.path("second.pid")).await;
    assert_names(&folder.path("second.pid"), service.pid());
    assert!(!folder.path("first.pid").exists());
    service.terminate().await;
    assert!(!folder.path("second.pid").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_names_another_process_is_left_alone() {
    let folder = Folder::new();
    let service = Supervised::start(folder.program()).await;
    written(&folder.file()).await;
    let another = format!("{}\n", std::process::id());
    fs::write(folder.file(), &another).expect("our own folder");
    service.terminate().await;
    assert_eq!(fs::read_to_string(folder.file()).expect("it is there"), another);
}

/// Who gives up has stopped too.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_removed_when_the_supervisor_gives_up() {
    let folder = Folder::new();
    let mut command = folder.program();
    command.env("ENDLESS_RESPAWN", "never");
    let service = Supervised::start(command).await;
    written(&folder.file()).await;
    service.signal(service.serving_pid(), Signal::SIGKILL);
    assert_eq!(service.over().await, Some(128 + 9));
    assert!(!folder.file().exists());
}

/// Nobody else is left who could.
#[tokio::test(flavor = "multi_thread")]
async fn a_generation_whose_supervisor_was_killed_removes_it() {
    let folder = Folder::new();
    let service = Supervised::start(folder.program()).await;
    for _ in 0..2 {
        service.hang_up().await.expect("nothing is against it");
    }
    written(&folder.file()).await;
    let (mark, serving) = (service.mark(), service.serving_pid());
    service.signal(service.pid(), Signal::SIGKILL);
    service.says(mark, "the supervisor is lost: this process ends", serving).await;
    assert_eq!(service.exit(serving).await.code(), Some(0));
    gone(&folder.file()).await;
    service.ended().await;
}
