//! A generation that dies by itself is replaced, as often as `respawn` says, by the program that became ready.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::{Client, Mark, Plan, Supervised, declarative, example, example_with, get, install, ticks};
use tempfile::TempDir;

/// Longer than any test: what was counted is not forgotten meanwhile.
const FIVE: &str = "5 in 1h";

/// 128 and the signal, as a shell says it.
const KILLED: Option<i32> = Some(128 + Signal::SIGKILL as i32);
const ABORTED: Option<i32> = Some(128 + Signal::SIGABRT as i32);

fn program(respawn: &str) -> Command {
    let mut command = declarative();
    command.env("ENDLESS_RESPAWN", respawn);
    command
}

/// Lets the generation that serves end by itself, unless the client leaves.
async fn exits(service: &Supervised, status: u16) -> Client {
    let mut client = Client::connect(service.address().await).await;
    client.ask(&format!("/exit?status={status}")).await;
    client
}

async fn answers(service: &Supervised) -> support::Response {
    let answer = get(service.address().await, "/hello").await;
    assert_eq!(answer.text(), "WORLD!");
    answer
}

async fn version(service: &Supervised) -> String {
    answers(service).await.header("x-version").expect("the app names its build").to_owned()
}

// ---- how often, and with which status

#[tokio::test(flavor = "multi_thread")]
async fn each_death_is_waited_for_longer_and_the_sixth_is_the_end() {
    let service = Supervised::start(program(FIVE)).await;
    for delay in [0, 100, 200, 400, 800].map(Duration::from_millis) {
        let (mark, dead) = (service.mark(), service.serving_pid());
        let successor = service.kill_serving().await;
        assert_ne!(successor, dead);
        let death = service.wait_for_message(mark, "the generation has ended: replacing it").await;
        assert_eq!(death.field("pid"), Some(&*dead.to_string()));
        assert_eq!(death.field("how"), Some("was killed by SIGKILL"));
        let listening = service.wait_for_message(mark, "listening").await;
        assert!(listening.at - death.at >= delay, "{death} … {listening}: not after {delay:?}");
        answers(&service).await;
    }
    service.signal(service.serving_pid(), Signal::SIGKILL);
    assert_eq!(service.over().await, KILLED);
    assert_eq!(service.count("the generation has ended: giving up"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_number_of_deaths_that_is_allowed_is_kept_to() {
    for (respawn, times) in [("2 in 60s", 2), ("never", 0)] {
        let service = Supervised::start(program(respawn)).await;
        for _ in 0..times {
            service.kill_serving().await;
        }
        service.signal(service.serving_pid(), Signal::SIGKILL);
        assert_eq!(service.over().await, KILLED, "{respawn}");
        assert_eq!(service.count("serving"), times + 1, "{respawn}");
    }
}

/// Without a word in the environment: five in ten seconds. None of them gets ready, so it is a matter of moments.
#[tokio::test(flavor = "multi_thread")]
async fn deaths_before_ready_count() {
    let mut command = declarative();
    let plan = Plan::of(&mut command);
    let service = Supervised::start(command).await;
    plan.set("abort");
    service.signal(service.serving_pid(), Signal::SIGKILL);
    assert_eq!(service.over().await, ABORTED);
    assert_eq!(service.count("the generation has ended: replacing it"), 5);
    assert_eq!(service.count("the generation has ended: giving up"), 1);
}

/// The log names who has died, whether it served or was about to.
#[tokio::test(flavor = "multi_thread")]
async fn each_dead_generation_is_named() {
    let mut command = program("2 in 1h");
    let plan = Plan::of(&mut command);
    let service = Supervised::start(command).await;
    plan.set("exit");
    service.signal(service.serving_pid(), Signal::SIGKILL);
    assert_eq!(service.over().await, Some(3));
    let lines = service.lines();
    let deaths = lines.iter().filter(|line| line.text.contains("the generation has ended: "));
    let named: Vec<_> = deaths.map(|line| line.field("pid").expect("it is named")).collect();
    assert_eq!(named.len(), 3);
    assert!(!named.contains(&service.pid().to_string().as_str()), "{named:?} holds the supervisor");
    assert!(named[0] != named[1] && named[1] != named[2] && named[0] != named[2], "{named:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_enough_by_itself_ends_the_service() {
    for status in [0, 2] {
        let service = Supervised::start(program(FIVE)).await;
        let _client = exits(&service, status).await;
        assert_eq!(service.over().await, Some(status.into()));
        assert_eq!(service.count("serving"), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_is_replaced() {
    for status in [1, 3, 255] {
        let service = Supervised::start(program(FIVE)).await;
        let mark = service.mark();
        let _client = exits(&service, status).await;
        let death = service.wait_for_message(mark, "the generation has ended: replacing it").await;
        assert_eq!(death.field("how"), Some(&*format!("exited with status {status}")));
        service.serving(mark).await;
        answers(&service).await;
        service.terminate().await;
    }
}

/// Nothing can be said to it any more. It has a moment to end by itself, in which its supervisor sleeps.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_closes_its_channel_and_serves_on_is_ended() {
    let folder = Folder::with_a();
    let mut command = folder.program();
    command.env("ENDLESS_RESPAWN", "never");
    let plan = Plan::of(&mut command);
    let service = Supervised::start(command).await;
    let before = ticks(service.pid());
    plan.set("take, report, ready, await go, confirm, close, serve");
    folder.ship(&example("test_impostor"));
    let mark = service.mark();
    service.signal(service.pid(), Signal::SIGHUP);
    service.wait_for_message(mark, "a generation has closed its channel: it is ended").await;
    let used = ticks(service.pid()) - before;
    assert!(used < 20, "the supervisor has used the processor for {used}0 ms");
    assert_eq!(service.over().await, KILLED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_generation_that_is_never_ready_ends_the_service_as_it_ended() {
    for (way, status) in [("error", 1), ("exit", 3), ("panic", 101), ("abort", 128 + 6)] {
        let mut command = program(FIVE);
        let plan = Plan::of(&mut command);
        plan.set(way);
        let service = Supervised::launch(command);
        assert_eq!(service.over().await, Some(status), "{way}");
        assert_eq!(service.count("the generation has ended: replacing it"), 0, "{way}");
    }
}

/// Whoever asks for a restart meanwhile does not ask for a second first generation.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_is_remembered_does_not_outlive_the_first_generation() {
    let mut command = Command::new(variant("A"));
    let plan = Plan::of(&mut command);
    plan.set("wait");
    let service = Supervised::launch(command);
    service.hears(Mark::START, "INFO app: waiting").await;
    service.signal(service.pid(), Signal::SIGHUP);
    service.wait_for_message(Mark::START, "restart remembered").await;
    plan.set("exit");
    assert_eq!(service.over().await, Some(3));
    let ends = service.lines().iter().filter(|line| line.text.starts_with("INFO app: exits")).count();
    assert_eq!(ends, 1);
}

// ---- while a restart is under way

#[tokio::test(flavor = "multi_thread")]
async fn one_that_dies_while_its_hooks_are_asked_has_a_successor() {
    let mut command = program("never");
    let plan = Plan::of(&mut command);
    let service = Supervised::start(command).await;
    plan.set("hang in the hook");
    let (mark, predecessor) = (service.mark(), service.serving_pid());
    service.signal(service.pid(), Signal::SIGHUP);
    service.hears(mark, "hook phase=pre signal=SIGHUP").await;
    plan.set("");
    service.signal(predecessor, Signal::SIGKILL);
    let successor = service.serving(mark).await;
    assert_ne!(successor, predecessor);
    answers(&service).await;
    assert_eq!(service.count("the generation that served has ended"), 1);
    service.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_dies_while_its_successor_starts_is_succeeded_all_the_same() {
    let mut command = program("never");
    let plan = Plan::of(&mut command);
    let service = Supervised::start(command).await;
    let address = service.address().await;
    let (mark, predecessor) = (service.mark(), service.serving_pid());
    plan.set("wait");
    service.signal(service.pid(), Signal::SIGHUP);
    service.hears(mark, "INFO app: waiting").await;
    service.signal(predecessor, Signal::SIGKILL);
    service.wait_for_message(mark, "the generation that served has ended").await;
    // It waits in the queue of a listener that has nobody else.
    let mut client = Client::connect(address).await;
    client.ask("/hello").await;
    plan.set("");
    let successor = service.serving(mark).await;
    assert_eq!(client.answer().await.header("x-pid"), Some(&*successor.to_string()));
    service.terminate().await;
}

/// The old program serves again, and the restart that was asked for meanwhile is carried out.
#[tokio::test(flavor = "multi_thread")]
async fn if_both_die_one_more_is_started_and_what_was_asked_for_is_done() {
    let mut command = program(FIVE);
    let plan = Plan::of(&mut command);
    let service = Supervised::start(command).await;
    let (mark, predecessor) = (service.mark(), service.serving_pid());
    plan.set("wait");
    service.signal(service.pid(), Signal::SIGHUP);
    let successor = service.hears(mark, "INFO app: waiting").await;
    service.signal(service.pid(), Signal::SIGHUP);
    service.wait_for_message(mark, "restart remembered").await;
    service.signal(predecessor, Signal::SIGKILL);
    service.wait_for_message(mark, "the generation that served has ended").await;
    let successor = successor.text.rsplit_once("pid=").expect("it is named").1.parse().expect("a PID");
    service.signal(successor, Signal::SIGKILL);
    plan.set("");
    let respawned = service.serving(mark).await;
    let handed_over = service.says(mark, "handed over", respawned).await;
    assert_ne!(handed_over.field("successor"), Some(&*respawned.to_string()));
    answers(&service).await;
    service.terminate().await;
}

// ---- which program

/// A folder with the program `app`, whose variant A it is at first.
struct Folder(TempDir);

impl Folder {
    fn with_a() -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder"));
        folder.ship(&variant("A"));
        folder
    }

    fn app(&self) -> PathBuf {
        self.0.path().join("app")
    }

    fn ship(&self, program: &Path) {
        install(program, &self.app());
    }

    /// Text that is a program only if it begins like one.
    fn ship_text(&self, text: &str) {
        let draft = self.0.path().join("draft");
        fs::write(&draft, text).expect("our own folder");
        fs::set_permissions(&draft, Permissions::from_mode(0o755)).expect("our own file");
        fs::rename(draft, self.app()).expect("our own folder");
    }

    fn program(&self) -> Command {
        let mut command = Command::new(self.app());
        command.env("ENDLESS_RESPAWN", "100 in 1h");
        command
    }
}

fn variant(version: &str) -> PathBuf {
    example_with("test_declarative", &[], &[("APP_VERSION", version)])
}

/// What `ps` and `pkill` call it.
fn name_of(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).expect("it lives");
    name.trim_end().to_owned()
}

/// As often as it dies: also the one that replaced another.
#[tokio::test(flavor = "multi_thread")]
async fn what_became_ready_serves_again_whatever_lies_on_the_path() {
    let folder = Folder::with_a();
    let service = Supervised::start(folder.program()).await;
    folder.ship_text("no program at all\n");
    for _ in 0..3 {
        let respawned = service.kill_serving().await;
        assert_eq!(version(&service).await, "A");
        assert_eq!(name_of(respawned), "app");
    }
    let reason = service.hang_up().await.expect_err("it is no program");
    assert!(reason.contains(folder.app().to_str().expect("text")), "{reason}");
    assert_eq!(version(&service).await, "A");
    fs::remove_file(folder.app()).expect("it is there");
    for _ in 0..2 {
        service.kill_serving().await;
        assert_eq!(version(&service).await, "A");
    }
    folder.ship(&variant("B"));
    service.kill_serving().await;
    assert_eq!(version(&service).await, "A", "nobody has asked for a restart");
    service.hang_up().await.expect("it is a program");
    assert_eq!(version(&service).await, "B");
    folder.ship_text("#!/bin/sh\nexit 1\n");
    let respawned = service.kill_serving().await;
    assert_eq!((version(&service).await.as_str(), name_of(respawned).as_str()), ("B", "app"));
    service.terminate().await;
}

/// What it execs is another file than the one that lies there.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_is_started_by_its_path() {
    let folder = Folder::with_a();
    let script = |version| format!("#!/bin/sh\nexec {} \"$@\"\n", variant(version).display());
    folder.ship_text(&script("A"));
    let mut command = Command::new(variant("A"));
    command.env("ENDLESS_PROGRAM", folder.app());
    let service = Supervised::start(command).await;
    service.hang_up().await.expect("the script is there");
    assert_eq!(version(&service).await, "A");
    folder.ship_text(&script("B"));
    service.kill_serving().await;
    assert_eq!(version(&service).await, "B");
    service.terminate().await;
}

/// Its environment, its folder and its settings are its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_generation_says_chooses_no_program() {
    let folder = Folder::with_a();
    folder.ship_text(&format!(
        "#!/bin/sh\nexport ENDLESS_PROGRAM=/bin/false EVIL=1\ncd /\nexec {} \"$@\"\n",
        variant("A").display()
    ));
    let mut command = Command::new(variant("A"));
    command.env("ENDLESS_PROGRAM", folder.app());
    let service = Supervised::start(command).await;
    service.hang_up().await.expect("the script is a program");
    folder.ship(&variant("B"));
    let respawned = service.kill_serving().await;
    assert_eq!(version(&service).await, "B");
    let environment = fs::read_to_string(format!("/proc/{respawned}/environ")).expect("it lives");
    assert!(!environment.contains("EVIL="), "{environment}");
    let here = fs::read_link(format!("/proc/{respawned}/cwd")).expect("it lives");
    assert_eq!(here, std::env::current_dir().expect("a folder"));
    service.terminate().await;
}
