//! What `Config` sets for the whole process, in code, and that the environment wins over it.

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{App, Client, Mark, PATIENCE, Plan, example, get};

/// Longer than any test.
const LONG: &str = "3600000";

/// A program whose code sets this.
fn configured(words: &[&str]) -> Command {
    let mut command = Command::new(example("test_builder"));
    command.arg("new=127.0.0.1:0").args(words);
    command
}

async fn start(command: Command) -> App {
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    app
}

#[tokio::test(flavor = "multi_thread")]
async fn hammer_time() {
    let app = start(configured(&["hammer_time=1000"])).await;
    let mut client = Client::connect(app.address().await).await;
    client.ask("/hang").await;
    app.wait_for(Mark::START, |line| line.text == "INFO app: stuck in /hang", PATIENCE).await;
    let begun = Instant::now();
    let status = app.stop().await;
    let took = begun.elapsed();
    assert_eq!(status.code(), Some(0));
    assert!(took >= Duration::from_secs(1), "the hammer fell after {took:?}");
    client.broken().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_timeout() {
    let mut command = configured(&["ready_timeout=2000"]);
    let plan = Plan::of(&mut command);
    let app = start(command).await;
    plan.set("hang");
    let reason = app.try_restart().await.expect_err("it hangs");
    assert_eq!(reason, "the successor was not ready within 2s");
    app.stop().await;
}

/// Longer than the default.
#[tokio::test(flavor = "multi_thread")]
async fn idle_grace() {
    let app = start(configured(&["idle_grace=3000"])).await;
    let mut client = Client::connect(app.address().await).await;
    assert_eq!(client.get("/hello").await.text(), "WORLD!");
    let begun = Instant::now();
    app.signal(app.first_pid(), Signal::SIGTERM);
    client.closed().await;
    assert!(begun.elapsed() >= Duration::from_secs(3), "closed after {:?}", begun.elapsed());
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn lame_duck_and_readiness_path() {
    let app = start(configured(&[&format!("lame_duck={LONG}"), "readiness_path=/ready"])).await;
    let address = app.address().await;
    assert_eq!(get(address, "/ready").await.status, 200);
    app.signal(app.first_pid(), Signal::SIGTERM);
    app.wait_for_message(Mark::START, "lame duck").await;
    assert_eq!(get(address, "/ready").await.status, 503);
    assert_eq!(get(address, "/hello").await.text(), "WORLD!");
}

#[tokio::test(flavor = "multi_thread")]
async fn pid_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("app.pid");
    let app = start(configured(&[&format!("pid_file={}", file.display())])).await;
    let named = fs::read_to_string(&file).expect("it is there");
    assert_eq!(named, format!("{}\n", app.first_pid()));
    app.stop().await;
    assert!(!file.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn program_and_the_environment_wins() {
    for (variable, named) in [(None, "/nowhere/code"), (Some("/nowhere/environment"), "/nowhere/environment")]
    {
        let mut command = configured(&["program=/nowhere/code"]);
        command.envs(variable.map(|value| ("ENDLESS_PROGRAM", value)));
        let app = start(command).await;
        let reason = app.try_restart().await.expect_err("there is none");
        assert_eq!(reason, format!("cannot start {named}: no such file or directory"));
        app.stop().await;
    }
}

/// The program restarts and stops itself by calls; a signal does what it does to any program, to a successor
/// too.
#[tokio::test(flavor = "multi_thread")]
async fn without_signals() {
    for in_a_successor in [false, true] {
        let app = start(configured(&["signals=off"])).await;
        let mut pid = app.first_pid();
        if in_a_successor {
            let answer = get(app.address().await, "/restart").await.text();
            pid = answer.strip_prefix("restarted ").and_then(|pid| pid.parse().ok()).expect("a PID");
            assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
        }
        app.signal(pid, Signal::SIGUSR1);
        assert_eq!(app.exit(pid).await.signal(), Some(Signal::SIGUSR1 as i32));
    }
    let app = start(configured(&["signals=off"])).await;
    assert_eq!(get(app.address().await, "/shutdown").await.status, 200);
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
}
