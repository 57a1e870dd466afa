//! Sockets that somebody else has bound and passed on, as systemd does: claimed by their names, kept across
//! restarts and deaths, and never removed.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{
    App, Kind, Line, Load, Mark, PATIENCE, Plan, Supervised, activated, example, get, restarts,
    shared_folder, unix_get,
};

/// The declarative program, which listens on these.
fn declarative(sockets: &[&str], listen: &str) -> Option<Command> {
    let mut program = activated(&example("test_declarative"), sockets)?;
    program.env("ENDLESS_LISTEN", listen);
    Some(program)
}

/// Where the sockets were bound, in their order.
async fn passed(app: &App, count: usize) -> Vec<String> {
    let is_told = |line: &Line| line.text.starts_with("INFO test: passed ");
    let mut addresses = Vec::new();
    let mut mark = Mark::START;
    for _ in 0..count {
        let line = app.wait_for(mark, is_told, PATIENCE).await;
        addresses.extend(line.text.split_once("address=").map(|(_, address)| address.to_owned()));
        mark = line.after();
    }
    addresses
}

fn variables_of(pid: u32) -> String {
    let variables = fs::read(format!("/proc/{pid}/environ")).expect("it lives");
    String::from_utf8_lossy(&variables).replace('\0', "\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervised_service_keeps_its_socket_whatever_happens() {
    let Some(program) = declarative(&["http=127.0.0.1:0"], "systemd:http") else { return };
    let service = Supervised::start(program).await;
    let address = service.address().await;
    assert_eq!(passed(&service, 1).await, [address.to_string()]);
    let load = Load::new(address, Kind::Fresh).connections(4).start();
    for _ in 0..restarts(5, 50) {
        let successor = service.hang_up().await.expect("a successor");
        assert!(!variables_of(successor).contains("LISTEN_"), "they are of one process");
        load.until_answered_by(successor).await;
    }
    load.stop().await.assert_clean();
    // One that dies loses what it has accepted, and nothing else.
    let pid = service.kill_serving().await;
    assert_eq!(get(address, "/hello").await.header("x-pid"), Some(&*pid.to_string()));
    service.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_service_keeps_its_socket_across_restarts() {
    let Some(program) = declarative(&["http=127.0.0.1:0"], "systemd:http") else { return };
    let app = App::start(program);
    let address = app.address().await;
    assert_eq!(passed(&app, 1).await, [address.to_string()]);
    let load = Load::new(address, Kind::Fresh).connections(4).start();
    for _ in 0..restarts(5, 50) {
        let successor = app.restart().await;
        assert!(!variables_of(successor).contains("LISTEN_"), "they are of one process");
        load.until_answered_by(successor).await;
    }
    load.stop().await.assert_clean();
    assert!(app.stop().await.success());
}

/// Its file is systemd's, which made it.
async fn leaves_the_file_alone(app: &App, path: &Path) {
    app.wait_for_message(Mark::START, "serving").await;
    let line = app.wait_for_message(Mark::START, "listening").await;
    assert_eq!(line.field("address"), Some(&*format!("unix:{}", path.display())));
    for _ in 0..2 {
        let mark = app.mark();
        app.signal(app.first_pid(), nix::sys::signal::Signal::SIGHUP);
        app.wait_for_message(mark, "handed over").await;
        assert_eq!(unix_get(path, "/hello").await.expect("an answer").body, "WORLD!");
    }
    app.signal(app.first_pid(), nix::sys::signal::Signal::SIGTERM);
    app.ended().await;
    assert!(path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_the_file_of_a_unix_socket_to_who_made_it() {
    let folder = shared_folder();
    let path = folder.path().join("app.sock");
    let socket = format!("http=unix:{}", path.display());
    let Some(mut program) = declarative(&[&socket], "systemd:http") else { return };
    program.env("ENDLESS_SUPERVISE", "true");
    leaves_the_file_alone(&App::start(program), &path).await;
}

/// Also where it has not been seen for a while: nobody binds it anew in its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_whose_file_is_gone_is_still_the_same() {
    let folder = shared_folder();
    let path = folder.path().join("app.sock");
    let socket = format!("http=unix:{}", path.display());
    let Some(program) = declarative(&[&socket], "systemd:http") else { return };
    let service = Supervised::start(program).await;
    let moved = folder.path().join("moved.sock");
    fs::rename(&path, &moved).expect("it can be renamed");
    let successor = service.hang_up().await.expect("a successor");
    assert_eq!(unix_get(&moved, "/hello").await.expect("an answer").pid(), Some(successor));
    assert!(!path.exists());
    service.terminate().await;
    assert!(moved.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_of_one_name_are_claimed_one_after_the_other() {
    let sockets = ["http=127.0.0.1:0", "admin=127.0.0.1:0", "http=127.0.0.1:0"];
    let Some(mut program) = activated(&example("test_attributed"), &sockets) else { return };
    program.args(["systemd:http", "systemd:http", "systemd:admin"]);
    let service = Supervised::start(program).await;
    let passed = passed(&service, 3).await;
    let expected = [passed[0].clone(), passed[2].clone(), passed[1].clone()];
    let mut listening = service.addresses(3).await;
    listening.sort();
    let mut all = expected.to_vec();
    all.sort();
    assert_eq!(listening, all);
    for _ in 0..2 {
        let successor = service.hang_up().await.expect("a successor");
        for address in &expected {
            let answer = get(address.parse().expect("an address"), "/hello").await;
            assert_eq!(answer.header("x-pid"), Some(&*successor.to_string()));
        }
    }
    service.terminate().await;
}

/// What the program prints, with its status.
async fn fails(program: Command) -> (String, Option<i32>) {
    let app = App::start(program);
    let status = app.exit(app.first_pid()).await;
    app.all_said().await;
    let lines: Vec<String> = app.lines().into_iter().map(|line| line.text).collect();
    (lines.join("\n"), status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_not_passed_is_refused_with_those_that_were() {
    let Some(program) = declarative(&["http=127.0.0.1:0", "admin=127.0.0.1:0"], "systemd:web") else {
        return;
    };
    let (said, status) = fails(program).await;
    let names = "no such socket left of those that systemd has passed: http, admin";
    assert!(said.contains(&format!("error: cannot bind systemd:web: {names}")), "{said}");
    assert_eq!(status, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_systemd_its_sockets_are_refused() {
    let mut program = Command::new(example("test_declarative"));
    program.env("ENDLESS_LISTEN", "systemd:web");
    let (said, status) = fails(program).await;
    let why = "systemd has passed no socket to this service";
    assert!(said.contains(&format!("error: cannot bind systemd:web: {why}")), "{said}");
    assert_eq!(status, Some(1));
}

/// Variables that another process has left in the environment.
#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_another_process_are_left_alone() {
    let Some(mut program) = declarative(&["http=127.0.0.1:0"], "systemd:http") else { return };
    program.env("LISTEN_PID", "1");
    let (said, _) = fails(program).await;
    assert!(said.contains("systemd has passed no socket to this service"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_claims_is_named_and_what_is_no_listener_too() {
    let sockets = ["http=127.0.0.1:0", "admin=127.0.0.1:0", "dns=udp:127.0.0.1:0"];
    let Some(program) = declarative(&sockets, "systemd:http") else { return };
    let service = Supervised::start(program).await;
    let named = service.wait_for(Mark::START, |line| line.field("name") == Some("admin"), PATIENCE).await;
    let message = "socket from systemd not claimed: this service does not accept from it";
    assert_eq!(named.message(), Some(message));
    let unusable = service.wait_for_message(Mark::START, "socket from systemd not usable").await;
    assert_eq!(unusable.field("name"), Some("dns"));
    service.terminate().await;
}

/// A later build that says where instead of whose: the listener stays.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_the_sockets_own_claims_it_too() {
    let Some(mut program) = activated(&example("test_builder"), &["http=127.0.0.1:0"]) else { return };
    let plan = Plan::of(&mut program);
    program.arg("new=systemd:http");
    let app = App::start(program);
    let address = app.address().await;
    plan.set(&format!("new={address}"));
    let successor = app.restart().await;
    assert_eq!(get(address, "/hello").await.header("x-pid"), Some(&*successor.to_string()));
    assert!(app.stop().await.success());
}
