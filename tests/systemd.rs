//! Under Debian's systemd, with the units that the documentation shows: reloads that nobody notices, bad ones that
//! everybody sees, sockets that are there before the service, a watchdog, and stops that take their time.

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use support::{
    Client, Kind, Load, Running, Systemd, documented, example_with, get, restarts, tool, unix_get, unix_load,
    until_busy,
};

/// What it writes goes where the test reads.
const SERVICE: &str =
    "[Service]\nStandardOutput=append:/run/test/hello.log\nStandardError=append:/run/test/hello.log\n";

fn program(version: usize) -> PathBuf {
    let version = ["one", "two"][version % 2];
    example_with("test_declarative", &[], &[("APP_VERSION", version)])
}

/// Boots with this unit as `hello.service`, changed where the test needs it, and with whatever else it needs.
async fn boot(unit: &str, changes: &[(&str, &str)], others: &[(&str, String)]) -> Option<Systemd> {
    let changes = [&[("[Service]\n", SERVICE)], changes].concat();
    let units = [&[("hello.service", documented(unit, &changes))], others].concat();
    let systemd = Systemd::boot(&units).await?;
    systemd.ship(&program(0), "hello");
    systemd.ship(env!("CARGO_BIN_EXE_endlessctl").as_ref(), "endlessctl");
    Some(systemd)
}

async fn start(systemd: &Systemd) -> SocketAddr {
    systemd.systemctl_beside(&["start", "hello"]).await.done();
    systemd.address().await
}

fn loads(address: SocketAddr) -> [Running; 2] {
    let think = Duration::ZERO..=Duration::from_millis(5);
    let stays = Load::new(address, Kind::KeepAlive { think }).connections(4).staying();
    [stays.start(), Load::new(address, Kind::Fresh).connections(4).start()]
}

/// Which generation serves, and its PID in there.
fn serving(systemd: &Systemd) -> (usize, u32) {
    let status = systemd.show("hello", "StatusText");
    let told = || {
        let (generation, pid) = status.strip_prefix("generation ")?.split_once(" serves (PID ")?;
        let (pid, _) = pid.split_once(')')?;
        Some((generation.parse().ok()?, pid.parse().ok()?))
    };
    told().unwrap_or_else(|| panic!("nobody serves: {status:?}"))
}

/// Ships the next version and reloads; everybody is answered by it.
async fn reload(systemd: &Systemd, loads: &[Running], number: usize) -> u32 {
    systemd.ship(&program(number), "hello");
    systemd.systemctl_beside(&["reload", "hello"]).await.done();
    assert_eq!(systemd.show("hello", "ActiveState"), "active");
    let (generation, pid) = serving(systemd);
    assert_eq!(generation, number);
    for load in loads {
        load.until_answered_by(pid).await;
    }
    pid
}

async fn nobody_noticed(loads: impl IntoIterator<Item = Running>) {
    for load in loads {
        let report = load.stop().await;
        report.assert_clean();
        assert_eq!(report.versions.len(), 2, "each program has answered: {report}");
    }
}

async fn stop(systemd: &Systemd) {
    systemd.systemctl_beside(&["stop", "hello"]).await.done();
    let state = ["ActiveState", "Result"].map(|property| systemd.show("hello", property));
    assert_eq!(state, ["inactive", "success"], "{}", systemd.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_keep_the_main_pid_and_nobody_notices() {
    let Some(systemd) = boot("hello.service", &[], &[]).await else { return };
    let loads = loads(start(&systemd).await);
    let main = systemd.main_pid("hello");
    for number in 1..=restarts(5, 20) {
        reload(&systemd, &loads, number).await;
        assert_eq!(systemd.main_pid("hello"), main);
    }
    nobody_noticed(loads).await;
    systemd.systemctl_beside(&["restart", "hello"]).await.done();
    assert_ne!(systemd.main_pid("hello"), main);
    assert_eq!(serving(&systemd).0, 0, "the first of another supervisor");
    stop(&systemd).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_supervisor_the_main_pid_follows() {
    let Some(systemd) = boot("hello-direct.service", &[], &[]).await else { return };
    let loads = loads(start(&systemd).await);
    for number in 1..=restarts(5, 20) {
        let main = systemd.main_pid("hello");
        let successor = reload(&systemd, &loads, number).await;
        assert_ne!(successor, main);
        assert_eq!(systemd.main_pid("hello"), successor);
    }
    nobody_noticed(loads).await;
    assert_eq!(systemd.show("hello", "NRestarts"), "0");
    stop(&systemd).await;
}

/// The reload says so, the status says why, and the service is as it was.
async fn a_bad_program_is_a_reload_that_failed(unit: &str) {
    let Some(systemd) = boot(unit, &[], &[]).await else { return };
    let address = start(&systemd).await;
    let main = systemd.main_pid("hello");
    systemd.ship(tool("false").expect("coreutils has it").as_ref(), "hello");
    let said = systemd.systemctl_beside(&["reload", "hello"]).await;
    assert!(said.failed().contains("Job for hello.service failed."), "{said:?}");
    assert_eq!(systemd.show("hello", "ReloadResult"), "exit-code");
    assert!(systemd.log().contains("endlessctl: not restarted: "), "{}", systemd.log());
    let status = systemd.show("hello", "StatusText");
    assert!(status.contains("restart called off: ") && status.contains("exited with status 1"), "{status}");
    assert_eq!(
        (systemd.show("hello", "ActiveState"), systemd.main_pid("hello")),
        ("active".to_owned(), main)
    );
    assert_eq!(get(address, "/hello").await.text(), "WORLD!");
    // And the next one is as good as if there had been none.
    reload(&systemd, &loads(address), 1).await;
    stop(&systemd).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_program_is_a_reload_that_failed_of_a_service_that_is_active() {
    a_bad_program_is_a_reload_that_failed("hello.service").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn and_so_it_is_without_a_supervisor() {
    a_bad_program_is_a_reload_that_failed("hello-direct.service").await;
}

/// What waits in the queue while there is no service at all waits for the next one.
async fn a_socket_is_there_before_and_after(unit: &str) {
    // systemd takes no port 0, and any other might be in use.
    let socket = documented("hello.socket", &[("127.0.0.1:8080", "/run/test/hello.sock")]);
    let activated = documented("activated.conf", &[]);
    let (_, changes) = activated.split_once("[Service]\n").expect("a section");
    let service = format!("{SERVICE}{changes}");
    let Some(systemd) = boot(unit, &[(SERVICE, &service)], &[("hello.socket", socket)]).await else { return };
    systemd.systemctl_beside(&["start", "hello.socket"]).await.done();
    let path = systemd.file("hello.sock");
    assert_eq!(systemd.show("hello", "ActiveState"), "inactive");
    let answer = unix_get(&path, "/hello").await.expect("the first client starts it");
    assert_eq!(answer.body, "WORLD!");
    assert!(systemd.log().contains("listening address=unix:/run/test/hello.sock"), "{}", systemd.log());
    let load = [unix_load(&path, 4)];
    for number in 1..=restarts(3, 20) {
        reload(&systemd, &load, number).await;
    }
    for _ in 0..restarts(3, 20) {
        // Else it takes more than five starts in ten seconds for a fault.
        systemd.systemctl(&["reset-failed", "hello"]).done();
        systemd.systemctl_beside(&["restart", "hello"]).await.done();
        load[0].until_answered_by(serving(&systemd).1).await;
    }
    for load in load {
        load.stop().await.assert_clean();
    }
    systemd.systemctl_beside(&["stop", "hello.socket", "hello.service"]).await.done();
    assert_eq!(systemd.show("hello", "Result"), "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_unit_is_there_before_the_service_and_while_it_is_restarted() {
    a_socket_is_there_before_and_after("hello.service").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn and_so_it_is_for_one_without_a_supervisor() {
    a_socket_is_there_before_and_after("hello-direct.service").await;
}

/// A handler that blocks its only thread: nothing but a watchdog would find out.
async fn a_service_that_hangs_is_restarted(unit: &str) {
    let one_thread = format!("{SERVICE}Environment=ENDLESS_WORKER_THREADS=1\n");
    let changes = [(SERVICE, one_thread.as_str()), ("WatchdogSec=30s", "WatchdogSec=5s")];
    let Some(systemd) = boot(unit, &changes, &[]).await else { return };
    let address = start(&systemd).await;
    let fed = |systemd: &Systemd| systemd.show("hello", "WatchdogTimestampMonotonic");
    for number in 1..3 {
        let before = fed(&systemd);
        systemd.until("hello", "WatchdogTimestampMonotonic", |now| now != before).await;
        reload(&systemd, &[], number).await;
    }
    assert_eq!(systemd.show("hello", "NRestarts"), "0", "one that answers is left alone");
    let mut client = Client::connect(address).await;
    client.ask("/spin").await;
    systemd.until("hello", "NRestarts", |count| count == "1").await;
    systemd.until("hello", "StatusText", |status| status.starts_with("generation 0 serves")).await;
    stop(&systemd).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_restarts_one_that_hangs() {
    a_service_that_hangs_is_restarted("hello.service").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn and_one_without_a_supervisor() {
    a_service_that_hangs_is_restarted("hello-direct.service").await;
}

/// Longer than systemd would wait for one that says nothing.
async fn a_stop_takes_the_time_that_it_needs(unit: &str) {
    let impatient = format!("{SERVICE}TimeoutStopSec=1s\n");
    let Some(systemd) = boot(unit, &[(SERVICE, &impatient)], &[]).await else { return };
    let address = start(&systemd).await;
    let mut client = Client::connect(address).await;
    client.ask("/sleep?ms=4000").await;
    until_busy(address, 1, 1).await;
    let ((), answer) = tokio::join!(stop(&systemd), client.answer());
    assert_eq!(answer.text(), "slept 4000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_takes_longer_than_systemd_would_wait() {
    a_stop_takes_the_time_that_it_needs("hello.service").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn and_a_stop_without_a_supervisor() {
    a_stop_takes_the_time_that_it_needs("hello-direct.service").await;
}

#[test]
fn the_unit_that_is_tried_is_the_one_that_is_shown() {
    let unit = documented("hello.service", &[]);
    let section = unit.split_once("[Service]").and_then(|(_, rest)| rest.split_once("\n[Install]"));
    let (section, _) = section.expect("a unit");
    assert!(include_str!("../README.md").contains(&format!("```ini\n[Service]{section}```")), "{section}");
}
