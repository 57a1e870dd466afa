//! The tests' program in the declarative form, with hooks that say that they ran.

mod ordered;
mod routes;

use endless::{Address, Event};
// A crate that is linked and has hooks; nothing else of it is used.
use hook_library as _;

#[endless::main(listen = "127.0.0.1:0")]
async fn main() -> Result<impl endless::HttpService, String> {
    routes::follow_plan()?;
    build_as_planned().await;
    Ok(routes::failing_at_error(routes::routes()))
}

/// `build`: takes as long as that is the plan.
async fn build_as_planned() {
    if routes::plan() == "build" {
        routes::say(format!("INFO app: building pid={}", std::process::id()));
    }
    while routes::plan() == "build" {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[endless::hook(pre = "SIGHUP", timeout = "2s")]
async fn check(event: &Event) -> Result<(), String> {
    note("pre", event);
    match routes::plan().as_str() {
        "refuse" => Err("as planned".to_owned()),
        "panic in the hook" => panic!("as planned"),
        "hang in the hook" => std::future::pending().await,
        _ => Ok(()),
    }
}

#[endless::hook(post = ["SIGHUP", "SIGTERM", "SIGINT"])]
fn report(event: &Event) {
    note("post", event);
}

#[endless::hook(pre = ["usr1", "SIGTERM"], post = "SIGUSR1", timeout = "2s")]
async fn both(event: &Event) -> Result<(), String> {
    note(if event.outcome().is_some() { "post" } else { "pre" }, event);
    match routes::plan().as_str() {
        "refuse the stop" => Err("as planned".to_owned()),
        _ => Ok(()),
    }
}

#[endless::hook(pre = "SIGUSR1")]
async fn in_the_root() {
    ordered::say("in_the_root");
}

#[endless::hook(before_begin)]
fn before_begin(address: &Address) {
    routes::say(format!("INFO app: before begin address={address} requested={}", address.requested()));
}

#[endless::hook(ready)]
fn ready(event: &Event) {
    note("ready", event);
}

#[endless::hook(drained)]
async fn drained(event: &Event) {
    note("drained", event);
}

#[endless::hook(hammered)]
fn hammered(event: &Event) {
    note("hammered", event);
}

fn note(phase: &str, event: &Event) {
    let signal = event.signal().map(|signal| signal.to_string()).unwrap_or_default();
    let sender = event.sender().map_or(0, |sender| sender.pid);
    let outcome = event.outcome().map(|outcome| format!("{outcome:?}")).unwrap_or_default();
    routes::say(format!(
        "INFO app: hook phase={phase} signal={signal} sender={sender} pid={} generation={} outcome={outcome:?}",
        std::process::id(),
        event.generation(),
    ));
}
