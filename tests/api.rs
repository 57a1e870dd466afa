//! What a service may ask of its own process, over the tests' routes and, where nothing is served, directly.

mod support;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use nix::sys::signal::Signal;
use support::{App, Client, Line, Mark, PATIENCE, Plan, declarative, get, status, status_when, successor_of};

#[tokio::test(flavor = "multi_thread")]
async fn restart_answers_with_the_successors_pid() {
    let app = App::start(declarative());
    let address = app.address().await;
    let answer = get(address, "/restart").await.text();
    let line = app.wait_for_message(Mark::START, "handed over").await;
    let successor = line.field("successor").expect("it names the successor");
    assert_eq!(answer, format!("restarted {successor}"));
    assert_eq!(get(address, "/hello").await.header("x-pid"), Some(successor));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_restart_answers_with_the_reason() {
    let mut command = declarative();
    let plan = Plan::of(&mut command);
    let app = App::start(command);
    let address = app.address().await;
    plan.set("refuse");
    assert_eq!(get(address, "/restart").await.text(), "not restarted: hook check refused: as planned");
    let me = app.first_pid().to_string();
    assert_eq!(get(address, "/hello").await.header("x-pid"), Some(me.as_str()));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_that_are_asked_for_together_are_answered_together() {
    let mut command = declarative();
    let plan = Plan::of(&mut command);
    let app = App::start(command);
    let address = app.address().await;
    plan.set("error");
    let (one, other) = tokio::join!(get(address, "/restart"), get(address, "/restart"));
    for answer in [one.text(), other.text()] {
        assert!(answer.starts_with("not restarted: the successor exited with status 1"), "{answer}");
        assert!(answer.ends_with(": as planned"), "{answer}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_drains_and_ends_the_process() {
    let app = App::start(declarative());
    let address = app.address().await;
    let mut slow = Client::connect(address).await;
    slow.ask("/sleep?ms=500").await;
    support::until_busy(address, 1, 1).await;
    assert_eq!(get(address, "/shutdown").await.status, 200);
    assert_eq!(slow.answer().await.text(), "slept 500");
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_generation_state_and_servers() {
    let app = App::start(declarative());
    let address = app.address().await;
    let before = status_when(address, |status| status["state"] == "serving").await;
    assert_eq!(before["pid"], app.first_pid());
    assert_eq!(before["generation"], 0);
    let servers = before["servers"].as_array().expect("a list");
    assert_eq!(servers.len(), 1);
    assert_eq!(servers[0]["address"], address.to_string());
    assert_eq!(servers[0]["in_flight"], 1);
    let requests = servers[0]["requests"].as_u64().expect("a number");
    assert_eq!(status(address).await["servers"][0]["requests"], requests + 1);

    let successor = app.restart().await;
    let after = status_when(address, |status| status["state"] == "serving").await;
    assert_eq!((&after["pid"], &after["generation"]), (&successor.into(), &1.into()));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_of_a_restart_and_of_a_drain() {
    let mut command = declarative();
    command.env("ENDLESS_IDLE_GRACE", "60s");
    let plan = Plan::of(&mut command);
    let app = App::start(command);
    let address = app.address().await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("/hello").await.status, 200);

    plan.set("wait");
    app.signal(app.first_pid(), Signal::SIGHUP);
    status_when(address, |status| status["state"] == "restarting").await;
    plan.set("");
    let successor = successor_of(&app.wait_for_message(Mark::START, "handed over").await);

    let mark = app.mark();
    app.signal(successor, Signal::SIGTERM);
    let draining = |line: &Line| line.message() == Some("draining") && line.pid("pid") == Some(successor);
    app.wait_for(mark, draining, PATIENCE).await;
    let told: serde_json::Value = serde_json::from_slice(&client.get("/status").await.body).expect("JSON");
    assert_eq!((&told["pid"], &told["state"]), (&successor.into(), &"draining".into()));
    assert_eq!(app.exit(successor).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_resolves_when_the_drain_begins() {
    let app = App::start(declarative());
    let address = app.address().await;
    let mut waiting = Client::connect(address).await;
    waiting.ask("/until_draining").await;
    support::until_busy(address, 1, 1).await;
    assert!(waiting.is_quiet());
    app.restart().await;
    assert_eq!(waiting.answer().await.text(), "draining");
    app.stop().await;
}

#[test]
fn where_nothing_is_served_draining_stays_pending() {
    let polled = pin!(endless::draining()).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
}

#[test]
fn where_nothing_is_served_pid_and_status_are_of_this_process() {
    assert_eq!(endless::pid(), std::process::id());
    let status = endless::status();
    assert_eq!((status.pid, status.generation, status.servers.len()), (std::process::id(), 0, 0));
    endless::shutdown();
    endless::ready();
}

#[tokio::test]
async fn where_nothing_is_served_restart_is_an_error() {
    let error = endless::restart().await.expect_err("nothing to restart");
    assert!(error.is_restart(), "{error}");
}
