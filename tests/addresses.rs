//! What a new version may do to its addresses: change them, but not to one that overlaps an old one.

mod support;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;

use support::{App, Kind, Line, Load, Mark, PATIENCE, Plan, Running, example, get};

/// The program that is put together in code, on this address, and the plan of its successors.
async fn start(address: &str) -> (App, Plan) {
    let mut command = Command::new(example("test_builder"));
    command.arg(format!("new={address}"));
    let plan = Plan::of(&mut command);
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    (app, plan)
}

async fn answering_pid(address: SocketAddr) -> u32 {
    let answer = get(address, "/hello").await;
    assert_eq!(answer.text(), "WORLD!");
    answer.header("x-pid").and_then(|pid| pid.parse().ok()).expect("it names its process")
}

async fn load(address: SocketAddr) -> Running {
    let load = Load::new(address, Kind::Fresh).connections(4).start();
    load.until_answered(16).await;
    load
}

/// A successor that wants `new` instead of what `old` has bound is called off and names both, and nobody
/// notices.
async fn is_refused(old: &str, new: impl Fn(u16) -> String) {
    let (app, plan) = start(old).await;
    let address = app.address().await;
    let reachable = SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()));
    let load = load(reachable).await;
    let new = new(address.port());
    plan.set(&format!("new={new}"));
    let reason = app.try_restart().await.expect_err("it overlaps");
    let words = format!("cannot bind {new} (it overlaps {address}, which the predecessor listens on)");
    assert!(reason.contains(&words), "{reason}");
    assert!(reason.ends_with("address already in use"), "{reason}");
    load.until_answered(16).await;

    plan.set("");
    let successor = app.restart().await;
    load.until_answered_by(successor).await;
    load.stop().await.assert_clean();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_interfaces_instead_of_one() {
    is_refused("127.0.0.1:0", |port| format!("0.0.0.0:{port}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_interfaces_of_both_families_instead_of_one() {
    is_refused("127.0.0.1:0", |port| format!("[::]:{port}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_alone_instead_of_one_interface() {
    is_refused("127.0.0.1:0", |port| format!(":{port}")).await;
}

/// Else it would be served on one family only.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_alone_instead_of_all_interfaces_of_one_family() {
    is_refused("0.0.0.0:0", |port| format!(":{port}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_interface_instead_of_all() {
    is_refused(":0", |port| format!("127.0.0.1:{port}")).await;
}

/// Beside the one that it overlaps, which the successor keeps.
#[tokio::test(flavor = "multi_thread")]
async fn all_interfaces_beside_one() {
    let (app, plan) = start("127.0.0.1:0").await;
    let address = app.address().await;
    plan.set(&format!("new=127.0.0.1:0 new=0.0.0.0:{}", address.port()));
    let reason = app.try_restart().await.expect_err("it overlaps");
    assert!(reason.contains(&format!("it overlaps {address}")), "{reason}");
    assert_eq!(answering_pid(address).await, app.first_pid());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_alone_is_served_on_both_families_by_every_generation() {
    let (app, plan) = start(":0").await;
    let bound = app.address().await;
    assert_eq!(bound.ip(), Ipv6Addr::UNSPECIFIED);
    let reachable =
        [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].map(|ip| SocketAddr::new(ip, bound.port()));
    // By its configured address, and by the one that it has bound, which means the same.
    for words in ["".to_owned(), format!("new=:{}", bound.port()), format!("new=[::]:{}", bound.port())] {
        let serving = app.serving_pid();
        for address in reachable {
            assert_eq!(answering_pid(address).await, serving);
        }
        plan.set(&words);
        app.restart().await;
    }
    app.stop().await;
}

/// The old port is served until the new one is, and then refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_port_takes_the_place_of_the_old_one() {
    let mut command = support::declarative();
    let script = support::Script::before(&mut command, "export ENDLESS_LISTEN=localhost:0");
    let app = App::start(command);
    let old = app.address().await;
    app.wait_for_message(Mark::START, "serving").await;
    assert_eq!(answering_pid(old).await, app.first_pid());
    let mark = app.mark();
    let successor = app.restart().await;
    drop(script);

    let pid = successor.to_string();
    let listening = |line: &Line| line.message() == Some("listening") && line.field("pid") == Some(&pid);
    let line = app.wait_for(mark, listening, PATIENCE).await;
    let new = line.field("address").and_then(|address| address.parse().ok()).expect("an address");
    assert_ne!(new, old);
    assert_eq!(answering_pid(new).await, successor);
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    let refused = std::net::TcpStream::connect(old).expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    app.stop().await;
}
