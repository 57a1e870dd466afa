//! Who may ask a service by `endlessctl`, who may answer, and what those cost it who mean no good.

mod support;

use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use nix::unistd::geteuid;
use support::{
    App, Ctl, Line, Mark, PATIENCE, Visitor, answering_pid, both_ways, ctl, declarative, descriptors,
    desk_of, example, install, patiently, serving, shared_folder, supervised,
};
use tempfile::TempDir;

/// Two users who are nobody's.
const ONE: u32 = 65_533;
const OTHER: u32 = 65_534;

/// The programs where everybody may run them; `None` where this user may not choose as whom.
fn for_everybody() -> Option<TempDir> {
    if !geteuid().is_root() {
        eprintln!("skipped: only root starts processes of other users");
        return None;
    }
    let folder = shared_folder();
    install(&example("test_declarative"), &folder.path().join("app"));
    install(Ctl::program().as_ref(), &folder.path().join("endlessctl"));
    Some(folder)
}

fn app_of(user: u32, folder: &TempDir) -> Command {
    let mut command = Command::new(folder.path().join("app"));
    command.uid(user).gid(user).current_dir("/");
    command
}

fn ctl_of(user: u32, folder: &TempDir, command: &str, pid: u32) -> Ctl {
    let mut program = tokio::process::Command::new(folder.path().join("endlessctl"));
    program.uid(user).gid(user).current_dir("/").args([command, &pid.to_string()]);
    Ctl::run(program)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_refused_by_the_process() {
    let Some(folder) = for_everybody() else { return };
    for command in both_ways(|| app_of(ONE, &folder)) {
        let app = serving(command).await;
        let pid = app.first_pid();
        let refusal = format!("user {OTHER} may not ask a process of user {ONE}");
        for (command, not) in [
            ("restart", "not restarted: "),
            ("stop", "not stopped: "),
            ("hammer", "not hammered: "),
            ("status", ""),
        ] {
            let said = ctl_of(OTHER, &folder, command, pid).said().await;
            assert_eq!(said.failed(), format!("{not}{refusal}"));
        }
        assert!(!app.lines().iter().any(|line| line.message() == Some("asked by endlessctl")));
        let own = ctl_of(ONE, &folder, "restart", pid).said().await;
        assert!(own.done().starts_with("restarted: generation 1, "), "{own:?}");
        // Root may, too.
        assert_eq!(ctl("stop", answering_pid(&app).await).await.done(), "stopped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_is_in_the_log() {
    let Some(folder) = for_everybody() else { return };
    let app = serving(supervised(app_of(ONE, &folder))).await;
    let asking = ctl_of(ONE, &folder, "restart", app.first_pid());
    let by = asking.pid();
    asking.said().await.done();
    let asked = |line: &Line| line.message() == Some("asked by endlessctl");
    let line = app.wait_for(Mark::START, asked, PATIENCE).await;
    assert_eq!(
        (line.field("request"), line.pid("by"), line.pid("uid")),
        (Some("restart"), Some(by), Some(ONE))
    );
}

/// A process that is no service of endless.
struct Bystander(Child);

impl Bystander {
    fn start() -> Self {
        Self(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().expect("sleep"))
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("it was ours");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_in_the_place_of_another_process_is_refused() {
    let bystander = Bystander::start();
    let pid = bystander.0.id();
    let listener = UnixListener::bind_addr(&desk_of(pid)).expect("nobody else's");
    for command in ["restart", "stop", "hammer", "status"] {
        let said = ctl(command, pid).await;
        let impostor = std::process::id();
        assert_eq!(said.failed(), format!("process {impostor} answers in the place of process {pid}"));
        // It was told nothing.
        let (socket, _) = listener.accept().expect("it came");
        assert_eq!(std::io::read_to_string(socket).expect("an end"), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_finished_since_it_was_named_as_draining_drains_no_more() {
    let (this, gone) = (std::process::id(), i32::MAX);
    let listener = UnixListener::bind_addr(&desk_of(this)).expect("this process has no other");
    let asking = Ctl::begin("hammer", this);
    let (mut socket, _) = listener.accept().expect("it came");
    writeln!(socket, r#"{{"elsewhere":{{"pids":[{gone}]}}}}"#).expect("it reads");
    assert_eq!(asking.said().await.failed(), "not hammered: not draining");
}

/// Those who come and mean no good; they stay for as long as this lives.
fn come_with_no_good_in_mind(pid: u32) -> Vec<Visitor> {
    let mut visitors: Vec<Visitor> = (0..100).map(|_| Visitor::come(pid)).collect();
    let long = "x".repeat(1 << 20);
    for text in ["\u{0}\u{1}garbage\n", "{\"request\":7}\n", "{}\n", &long, &"[".repeat(4000), &long[..4000]]
    {
        let visitor = Visitor::come(pid);
        visitor.say(text);
        visitors.push(visitor);
    }
    for _ in 0..100 {
        let visitor = Visitor::come(pid);
        visitor.say("{\"request\":\"status\"}\n");
        visitors.push(visitor);
    }
    visitors
}

/// Restarts by a signal while somebody comes and goes without end.
async fn restart_in_a_flood(app: &App) -> u32 {
    let (pid, enough) = (app.first_pid(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Relaxed) {
                Visitor::come(pid).say("{\"request\":\"stat");
            }
        });
        let restarted =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(app.restart()));
        enough.store(true, Relaxed);
        restarted
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_mean_no_good_keep_nobody_waiting() {
    let app = serving(supervised(declarative())).await;
    let pid = app.first_pid();
    let before = descriptors(pid);
    let visitors = come_with_no_good_in_mind(pid);
    assert_eq!(restart_in_a_flood(&app).await, answering_pid(&app).await);
    assert!(ctl("status", pid).await.done().contains("serving"));
    assert!(ctl("restart", pid).await.done().starts_with("restarted: generation 2, "));
    drop(visitors);
    patiently(async {
        while descriptors(pid) != before {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(ctl("stop", pid).await.done(), "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_supervisor_they_do_not_either() {
    let app = serving(declarative()).await;
    let visitors = come_with_no_good_in_mind(app.first_pid());
    assert!(ctl("status", app.first_pid()).await.done().contains("serving"));
    let successor = app.restart().await;
    let more = come_with_no_good_in_mind(successor);
    assert!(ctl("restart", successor).await.done().starts_with("restarted: generation 2, "));
    assert_eq!(ctl("stop", app.serving_pid()).await.done(), "stopped");
    drop((visitors, more));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_sent_away() {
    for command in both_ways(declarative) {
        let app = serving(command).await;
        let silent = Visitor::come(app.first_pid());
        assert_eq!(silent.answer(), None);
        let long = Visitor::come(app.first_pid());
        long.say(&"x".repeat(5000));
        assert_eq!(long.answer().expect("words")["refused"]["reason"], "a request has at most 4096 bytes");
    }
}
