//! What a service tells the service manager, read by a socket of the test: each message, in its order.

mod support;

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::faults::Points;
use support::{
    App, Client, Manager, Mark, PATIENCE, Plan, Supervised, alive, busy, declarative, example, example_with,
    get, install, shared_folder,
};

/// `READY=1` and its like of a process that serves.
fn ready(generation: u32, pid: u32) -> String {
    format!("READY=1\nSTATUS=generation {generation} serves (PID {pid})\n")
}

/// The time in it is checked, and left out.
fn without_time(message: &str) -> String {
    let (before, rest) = message.split_once("MONOTONIC_USEC=").expect("it says when");
    let (time, after) = rest.split_once('\n').expect("a line");
    assert!(time.parse::<u64>().is_ok_and(|time| time > 0), "{message:?}");
    before.to_owned() + after
}

fn restarting(generation: u32, pid: u32) -> String {
    format!("RELOADING=1\nSTATUS=generation {generation} serves (PID {pid}); restarting\n")
}

const STOPPING: &str = "STOPPING=1\nEXTEND_TIMEOUT_USEC=30000000\nSTATUS=stopping\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_tells_of_start_restart_and_stop() {
    let mut program = declarative();
    let manager = Manager::of(&mut program);
    let service = Supervised::start(program).await;
    let mut pid = service.serving_pid();
    assert_eq!(manager.next().await, ready(0, pid));
    for generation in 0..3 {
        let successor = service.hang_up().await.expect("a successor");
        assert_eq!(without_time(&manager.next().await), restarting(generation, pid));
        assert_eq!(manager.next().await, ready(generation + 1, successor));
        pid = successor;
    }
    service.terminate().await;
    assert_eq!(manager.next().await, STOPPING);
    assert_eq!(manager.waiting(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_is_called_off_is_told_with_its_reason() {
    let mut program = declarative();
    let (plan, manager) = (Plan::of(&mut program), Manager::of(&mut program));
    let service = Supervised::start(program).await;
    let pid = service.serving_pid();
    assert_eq!(manager.next().await, ready(0, pid));
    plan.set("refuse");
    service.hang_up().await.expect_err("refused");
    assert_eq!(without_time(&manager.next().await), restarting(0, pid));
    let status = format!("generation 0 serves (PID {pid}); restart called off: ");
    let told = manager.next().await;
    assert!(
        told.starts_with(&format!("READY=1\nSTATUS={status}")) && told.ends_with("as planned\n"),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_dies_is_told_and_so_is_the_next() {
    let mut program = declarative();
    let manager = Manager::of(&mut program);
    let service = Supervised::start(program).await;
    manager.next().await;
    let pid = service.kill_serving().await;
    let died = "STATUS=generation 0 has ended (was killed by SIGKILL); replacing it\n";
    assert_eq!([manager.next().await, manager.next().await], [died.to_owned(), ready(1, pid)]);
}

/// Only the main process is heard, so the predecessor says for its successor that this is the main one.
#[tokio::test(flavor = "multi_thread")]
async fn each_direct_generation_tells_and_names_its_successor() {
    let mut program = declarative();
    let (plan, manager) = (Plan::of(&mut program), Manager::of(&mut program));
    let app = App::start(program);
    let mut pid = app.first_pid();
    assert_eq!(manager.next().await, ready(0, pid));
    for generation in 0..2 {
        let successor = app.restart().await;
        assert_eq!(without_time(&manager.next().await), restarting(generation, pid));
        let ready = ready(generation + 1, successor);
        assert_eq!(manager.next().await, format!("MAINPID={successor}\n{ready}"));
        pid = successor;
    }
    plan.set("error");
    let reason = app.try_restart().await.expect_err("as planned");
    assert_eq!(without_time(&manager.next().await), restarting(2, pid));
    let status = format!("generation 2 serves (PID {pid}); restart called off: {reason}");
    assert_eq!(manager.next().await, format!("READY=1\nSTATUS={status}\n"));
    assert!(app.stop().await.success());
    assert_eq!(manager.next().await, STOPPING);
    assert_eq!(manager.waiting(), [""; 0]);
}

/// Else the manager's patience would end a drain that has time.
async fn a_stop_asks_for_more_time(app: &App, manager: &Manager) {
    let _client: Client = busy(app, "/hang").await;
    app.signal(app.first_pid(), Signal::SIGTERM);
    manager.until(STOPPING).await;
    assert_eq!(manager.next().await, "EXTEND_TIMEOUT_USEC=30000000\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_a_supervisor_asks_for_more_time_while_it_drains() {
    let mut program = declarative();
    let manager = Manager::of(&mut program);
    let service = Supervised::start(program).await;
    a_stop_asks_for_more_time(&service, &manager).await;
    assert_eq!(service.over().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_stop_asks_for_more_time_while_it_drains() {
    let mut program = declarative();
    let manager = Manager::of(&mut program);
    let app = App::start(program);
    a_stop_asks_for_more_time(&app, &manager).await;
}

/// Watched as its main process, which is this shell's PID; and with one thread, that a request can block.
fn watched() -> Command {
    let mut program = Command::new("sh");
    program.args(["-c", "export WATCHDOG_PID=$$; exec \"$0\""]).arg(example("test_declarative"));
    program.env("WATCHDOG_USEC", "100000").env("ENDLESS_WORKER_THREADS", "1");
    program
}

/// While a handler blocks the only thread; one notice may have been under way.
async fn none_comes_while_it_hangs(app: &App, manager: &Manager) {
    manager.until("WATCHDOG=1").await;
    let mark = app.mark();
    let mut client = Client::connect(app.address().await).await;
    client.ask("/spin").await;
    app.wait_for(mark, |line| line.text.contains("stuck in /spin"), PATIENCE).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    manager.waiting();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(manager.waiting(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_says_that_the_service_lives_only_while_it_answers() {
    let mut program = watched();
    let manager = Manager::of(&mut program);
    let service = Supervised::start(program).await;
    none_comes_while_it_hangs(&service, &manager).await;
    // The next one does, whatever its predecessor owes.
    let mark = service.mark();
    service.signal(service.serving_pid(), Signal::SIGKILL);
    service.serving(mark).await;
    manager.until("WATCHDOG=1").await;
    let successor = service.hang_up().await.expect("a successor");
    manager.until(&ready(2, successor)).await;
    manager.until("WATCHDOG=1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_generation_says_that_it_lives_only_while_it_does() {
    let mut program = watched();
    let manager = Manager::of(&mut program);
    let app = App::start(program);
    app.wait_for_message(Mark::START, "serving").await;
    manager.until("WATCHDOG=1").await;
    // Its successor is watched in its place, though the variable names the first one.
    let successor = app.restart().await;
    let told = manager.until("MAINPID=").await;
    assert!(told.last().is_some_and(|last| last.contains("WATCHDOG=1")), "the successor is not heard yet");
    app.exit(app.first_pid()).await;
    manager.waiting();
    none_comes_while_it_hangs(&app, &manager).await;
    assert!(alive(successor));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_is_not_told_of() {
    let mut program = declarative();
    program.env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    let manager = Manager::of(&mut program);
    let service = Supervised::start(program).await;
    let successor = service.hang_up().await.expect("a successor");
    let told = manager.until(&ready(1, successor)).await;
    assert_eq!(told.len(), 3, "the watchdog is another one's: {told:?}");
}

/// It is not there: that is said once, and the service is as without.
#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_is_gone_is_nobodys_trouble() {
    let mut program = declarative();
    drop(Manager::of(&mut program));
    let service = Supervised::start(program).await;
    service.hang_up().await.expect("a successor");
    service.hang_up().await.expect("a successor");
    assert_eq!(get(service.address().await, "/hello").await.text(), "WORLD!");
    service.terminate().await;
    assert_eq!(service.count("the service manager was not told"), 1);
}

/// The same PID, and so the same main process, in a newer build.
#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_becomes_a_newer_build_goes_on_telling() {
    let folder = shared_folder();
    let path = folder.path().join("app");
    install(&example_with("test_declarative", &["_pause-points"], &[]), &path);
    let mut program = Command::new(&path);
    program.env("WATCHDOG_USEC", "100000");
    let (points, manager) = (Points::of(&mut program), Manager::of(&mut program));
    let service = Supervised::start(program).await;
    points.set_version(2);
    let mark = service.mark();
    service.hang_up().await.expect("a successor");
    service.wait_for_message(mark, "the supervisor becomes the build that serves").await;
    let successor = service.hang_up().await.expect("a successor");
    manager.until(&ready(2, successor)).await;
    manager.until("WATCHDOG=1").await;
    service.terminate().await;
    manager.until(STOPPING).await;
}
