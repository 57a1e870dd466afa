//! Sync and async, with and without the argument, with nothing and a `Result` returned.
use endless::{Address, Event};

#[endless::hook(pre = "SIGHUP")]
fn nothing() {}

#[endless::hook(pre = "SIGHUP")]
fn result() -> Result<(), String> {
    Ok(())
}

#[endless::hook(pre = "SIGHUP")]
fn event(event: &Event) {
    let _ = event;
}

#[endless::hook(pre = "SIGHUP")]
fn event_result(_: &Event) -> Result<(), &'static str> {
    Err("not now")
}

#[endless::hook(pre = "SIGHUP")]
async fn async_nothing() {}

#[endless::hook(pre = "SIGHUP")]
async fn async_result() -> Result<(), std::io::Error> {
    Ok(())
}

#[endless::hook(pre = "SIGHUP")]
async fn async_event(event: &Event) {
    std::future::ready(event).await;
}

#[endless::hook(pre = "SIGHUP")]
async fn async_event_result(event: &Event) -> Result<(), String> {
    std::future::ready(event).await;
    Ok(())
}

#[endless::hook(before_begin)]
fn address(address: &Address) {
    println!("{address}");
}

#[endless::hook(before_begin)]
async fn async_address(address: &Address) -> Result<(), String> {
    std::future::ready(address).await;
    Ok(())
}

fn main() {}
