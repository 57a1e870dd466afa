//! The tests' program with a hook of every form: sync or async, of nothing or of what the moment tells,
//! returning nothing or a `Result`.

mod routes;

use endless::{Address, Event};

#[endless::main(listen = "127.0.0.1:0")]
async fn main() -> Result<impl endless::HttpService, String> {
    routes::follow_plan()?;
    Ok(routes::failing_at_error(routes::routes()))
}

fn say(form: &str) {
    routes::say(format!("INFO app: form={form}"));
}

/// What a `Result` says, for a hook that fails.
fn fail(form: &str) -> Result<(), String> {
    say(form);
    Err(format!("{form} failed"))
}

#[endless::hook(pre = "SIGWINCH")]
fn sync_nothing() {
    say("sync_nothing");
}

#[endless::hook(pre = "SIGWINCH")]
fn sync_event(event: &Event) {
    say(&format!("sync_event {:?}", event.signal()));
}

#[endless::hook(pre = "SIGWINCH")]
fn sync_result() -> Result<(), String> {
    fail("sync_result")
}

#[endless::hook(pre = "SIGWINCH")]
fn sync_event_result(_: &Event) -> Result<(), String> {
    fail("sync_event_result")
}

#[endless::hook(pre = "SIGWINCH")]
async fn async_nothing() {
    say("async_nothing");
}

#[endless::hook(pre = "SIGWINCH")]
async fn async_event(event: &Event) {
    say(&format!("async_event {:?}", event.signal()));
}

#[endless::hook(pre = "SIGWINCH")]
async fn async_result() -> Result<(), String> {
    fail("async_result")
}

#[endless::hook(pre = "SIGWINCH")]
async fn async_event_result(_: &Event) -> Result<(), String> {
    fail("async_event_result")
}

#[endless::hook(pre = "SIGWINCH")]
fn sync_panic() {
    panic!("sync_panic failed");
}

#[endless::hook(post = "SIGWINCH", order = 1)]
fn last() {
    say("last");
}

#[endless::hook(before_begin)]
fn begin_sync_nothing() {
    say("begin_sync_nothing");
}

#[endless::hook(before_begin)]
fn begin_sync_address(address: &Address) {
    say(&format!("begin_sync_address {address}"));
}

#[endless::hook(before_begin)]
async fn begin_async_nothing() {
    say("begin_async_nothing");
}

#[endless::hook(before_begin)]
async fn begin_async_address(address: &Address) -> Result<(), String> {
    fail(&format!("begin_async_address {address}"))
}

#[endless::hook(ready)]
fn ready_sync_nothing() {
    say("ready_sync_nothing");
}

#[endless::hook(ready)]
async fn ready_async_event(event: &Event) -> Result<(), String> {
    fail(&format!("ready_async_event {}", event.generation()))
}

#[endless::hook(drained)]
async fn drained_async_nothing() {
    say("drained_async_nothing");
}

#[endless::hook(drained)]
fn drained_sync_event(event: &Event) -> Result<(), String> {
    fail(&format!("drained_sync_event {:?}", event.outcome()))
}

#[endless::hook(hammered)]
fn hammered_nothing() {
    say("hammered_nothing");
}

#[endless::hook(hammered)]
fn hammered_event(event: &Event) -> Result<(), String> {
    fail(&format!("hammered_event {:?}", event.outcome()))
}

/// It cannot be ended; nobody waits for it longer than this.
#[endless::hook(pre = "SIGHUP", timeout = "300ms")]
fn blocks_if_planned() {
    while routes::plan() == "block" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Before the one above, by its order; after it, by its line.
#[endless::hook(pre = "SIGHUP", order = -1)]
fn refuses_if_planned() -> Result<(), std::fmt::Error> {
    match routes::plan().as_str() {
        "refuse" => Err(std::fmt::Error),
        _ => Ok(()),
    }
}
