//! A supervised service's listeners: there as long as anybody is to be served, and nowhere after that.

mod support;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::{
    Client, Line, Mark, PATIENCE, Plan, Supervised, declarative, example, freeze, get, patiently, unix_get,
    unix_load,
};
use tempfile::TempDir;
use tokio::net::TcpStream;

/// Serving on so many addresses that the system chooses.
fn program(addresses: usize) -> (Command, Plan) {
    let mut command = Command::new(example("test_attributed"));
    command.args(vec!["127.0.0.1:0"; addresses]).env("ENDLESS_RESPAWN", "100 in 1h");
    let plan = Plan::of(&mut command);
    (command, plan)
}

async fn addresses(service: &Supervised, count: usize) -> Vec<SocketAddr> {
    let texts = service.addresses(count).await;
    texts.iter().map(|text| text.parse().expect("a socket address")).collect()
}

/// The address of one more server, which serves.
async fn late_server(service: &Supervised, plan: &Plan) -> SocketAddr {
    let mark = service.mark();
    plan.set("add 127.0.0.1:0");
    let line = service.wait_for_message(mark, "listening").await;
    let late = line.field("address").and_then(|text| text.parse().ok()).expect("an address");
    pid(late).await;
    late
}

/// Whoever serves there.
async fn pid(address: SocketAddr) -> u32 {
    let answer = get(address, "/hello").await;
    assert_eq!(answer.text(), "WORLD!");
    answer.header("x-pid").and_then(|pid| pid.parse().ok()).expect("it names its process")
}

/// Waits until nobody has it any more: a connection neither waits in a queue nor is served.
async fn closed(address: SocketAddr) {
    patiently(async {
        loop {
            match TcpStream::connect(address).await {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return,
                // One that was in the queue when that was closed has been reset.
                Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_servers_are_all_inherited_by_who_replaces_the_dead() {
    let (command, _plan) = program(3);
    let service = Supervised::start(command).await;
    let addresses = addresses(&service, 3).await;
    for round in 0..4 {
        let serving = match round % 2 {
            0 => service.kill_serving().await,
            _ => service.hang_up().await.expect("nothing is against it"),
        };
        for address in &addresses {
            assert_eq!(pid(*address).await, serving);
        }
    }
    service.terminate().await;
    for address in addresses {
        closed(address).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_came_late_is_inherited_too() {
    let (command, plan) = program(1);
    let service = Supervised::start(command).await;
    let late = late_server(&service, &plan).await;
    for _ in 0..2 {
        let serving = service.kill_serving().await;
        assert_eq!(pid(late).await, serving);
        assert_eq!(pid(service.address().await).await, serving);
    }
    service.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_comes_to_more_than_a_message_carries_is_inherited_too() {
    let (command, plan) = program(300);
    let service = Supervised::start(command).await;
    let late = late_server(&service, &plan).await;
    let serving = service.kill_serving().await;
    assert_eq!(pid(late).await, serving);
    service.terminate().await;
}

/// The supervisor hears of it: nothing is left in which a connection could wait for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_dropped_is_closed_everywhere() {
    let (command, plan) = program(2);
    let service = Supervised::start(command).await;
    let addresses = addresses(&service, 2).await;
    for address in &addresses {
        pid(*address).await;
    }
    plan.set("drop");
    // The two are bound in any order.
    let (dropped, kept) = tokio::select! {
        () = closed(addresses[0]) => (addresses[0], addresses[1]),
        () = closed(addresses[1]) => (addresses[1], addresses[0]),
    };
    pid(kept).await;
    service.kill_serving().await;
    pid(kept).await;
    closed(dropped).await;
    service.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_the_successor_does_not_claim_is_closed_everywhere() {
    let (command, plan) = program(2);
    let service = Supervised::start(command).await;
    let addresses = addresses(&service, 2).await;
    plan.set("only 1");
    let mark = service.mark();
    let successor = service.hang_up().await.expect("nothing is against it");
    // The two are bound in any order.
    let line = service.says(mark, "listening", successor).await;
    let kept: SocketAddr = line.field("address").and_then(|text| text.parse().ok()).expect("an address");
    let removed = addresses.into_iter().find(|address| *address != kept).expect("there were two");
    assert_eq!(pid(kept).await, successor);
    closed(removed).await;
    let respawned = service.kill_serving().await;
    assert_eq!(pid(kept).await, respawned);
    closed(removed).await;
    service.terminate().await;
}

/// A listener that is new in a successor which then fails was never anybody's.
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_adds_one_is_respawned_with_it() {
    let (command, plan) = program(1);
    let service = Supervised::start(command).await;
    let (mark, known) = (service.mark(), service.address().await.to_string());
    plan.set("also 127.0.0.1:0");
    let successor = service.hang_up().await.expect("nothing is against it");
    let of_successor = successor.to_string();
    let is_new = |line: &Line| {
        line.message() == Some("listening")
            && line.field("pid") == Some(&of_successor)
            && line.field("address") != Some(&*known)
    };
    let line = service.wait_for(mark, is_new, PATIENCE).await;
    let added: SocketAddr = line.field("address").and_then(|text| text.parse().ok()).expect("an address");
    let respawned = service.kill_serving().await;
    assert_eq!(pid(added).await, respawned);
    service.terminate().await;
}

// ---- the stop

#[tokio::test(flavor = "multi_thread")]
async fn a_lame_duck_accepts_to_the_end_of_its_time_and_a_drain_does_not() {
    let mut command = declarative();
    command.env("ENDLESS_LAME_DUCK", "1s");
    let service = Supervised::start(command).await;
    let address = service.address().await;
    let (mark, serving) = (service.mark(), service.serving_pid());
    let mut busy = Client::connect(address).await;
    service.signal(service.pid(), Signal::SIGTERM);
    let duck = service.says(mark, "lame duck", serving).await;
    assert_eq!(pid(address).await, serving);
    busy.ask("/sleep?ms=5000").await;
    let drain = service.says(mark, "draining", serving).await;
    assert!(drain.at - duck.at >= Duration::from_secs(1), "{duck} … {drain}");
    closed(address).await;
    assert_eq!(service.count("drained"), 0, "the drain was over before the listener was closed");
    assert_eq!(busy.answer().await.text(), "slept 5000");
    assert_eq!(service.over().await, Some(0));
}

/// Its predecessor still drains, and the successor is the one that stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_closes_the_listener_while_others_still_drain() {
    let service = Supervised::start(declarative()).await;
    let address = service.address().await;
    let mut busy = Client::connect(address).await;
    busy.ask("/sleep?ms=5000").await;
    support::until_busy(address, 1, 1).await;
    let successor = service.hang_up().await.expect("nothing is against it");
    service.signal(service.pid(), Signal::SIGTERM);
    service.says(Mark::START, "drained", successor).await;
    closed(address).await;
    assert_eq!(service.count("drained"), 1, "the predecessor is done");
    assert_eq!(busy.answer().await.text(), "slept 5000");
    assert_eq!(service.over().await, Some(0));
}

// ---- unix sockets

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("app.sock")
    }

    fn program(&self) -> Command {
        let mut command = declarative();
        command.env("ENDLESS_LISTEN", format!("unix:{}", self.socket().display()));
        command.env("ENDLESS_RESPAWN", "100 in 1h");
        command
    }

    fn assert_holds(&self, names: &[&str]) {
        let entries = std::fs::read_dir(self.0.path()).expect("our own folder").flatten();
        let found: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        assert_eq!(found, names);
    }
}

fn inode(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).expect("the file is there").ino()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_a_unix_socket_outlives_restarts_and_deaths_and_goes_with_the_stop() {
    let folder = Folder::new();
    let service = Supervised::start(folder.program()).await;
    let before = inode(&folder.socket());
    for round in 0..4 {
        let serving = match round % 2 {
            0 => service.kill_serving().await,
            _ => service.hang_up().await.expect("nothing is against it"),
        };
        let answer = unix_get(&folder.socket(), "/hello").await.expect("it is served");
        assert_eq!(answer.pid(), Some(serving));
        assert_eq!(inode(&folder.socket()), before);
        folder.assert_holds(&["app.sock"]);
    }
    service.terminate().await;
    folder.assert_holds(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_a_unix_socket_goes_with_a_stop_while_nobody_serves() {
    let folder = Folder::new();
    let mut command = folder.program();
    let plan = Plan::of(&mut command);
    let service = Supervised::start(command).await;
    plan.set("exit");
    service.dies(5).await;
    service.terminate().await;
    folder.assert_holds(&[]);
}

/// It waits in the socket's queue, which no client of a unix socket does twice: it is refused where nobody
/// listens.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_refused_by_a_unix_socket_whose_generation_dies() {
    let folder = Folder::new();
    let service = Supervised::start(folder.program()).await;
    let dying = service.serving_pid();
    freeze(&service, dying).await;
    let load = unix_load(&folder.socket(), 16);
    load.until(|report| report.requests == 16).await;
    let respawned = service.kill_serving().await;
    load.until_answered_by(respawned).await;
    let report = load.stop().await;
    report.assert_clean();
    assert!(report.pids.keys().eq([&respawned]), "{report}");
    service.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_a_unix_socket_goes_with_the_generation_whose_supervisor_was_killed() {
    let folder = Folder::new();
    let service = Supervised::start(folder.program()).await;
    let serving = service.hang_up().await.expect("nothing is against it");
    service.signal(service.pid(), Signal::SIGKILL);
    assert_eq!(service.exit(serving).await.code(), Some(0));
    service.ended().await;
    folder.assert_holds(&[]);
    assert!(service.count("the supervisor is lost: this process ends") >= 1);
    assert_eq!(service.wait_for_message(Mark::START, "drained").await.field("reason"), None);
}
