//! A hook before and after every signal that a hook can be bound to.
//!
//! ```text
//! cargo run --example hooks &      # the first lines say the PID
//! kill -USR1 PID                   # pre SIGUSR1, post SIGUSR1: Nothing
//! touch /tmp/no-restart; kill -HUP PID; rm /tmp/no-restart
//!                                  # pre SIGHUP, post SIGHUP: NotRestarted { reason: … }
//! kill -HUP PID                    # pre SIGHUP, post SIGHUP: Restarted { pid: … }
//! ```

use std::path::Path;

use axum::{Router, routing::get};
use endless::{Address, Event};

#[endless::main(listen = "127.0.0.1:4242")]
async fn main() -> Router {
    Router::new().route("/hello", get(|| async { "WORLD!" }))
}

/// Runs first, and may call the restart off.
#[endless::hook(pre = "SIGHUP", order = -1, timeout = "5s")]
async fn check() -> Result<(), &'static str> {
    match Path::new("/tmp/no-restart").exists() {
        true => Err("/tmp/no-restart says no"),
        false => Ok(()),
    }
}

#[endless::hook(
    pre = ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGINT", "SIGTERM", "SIGTSTP"],
    post = ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGINT", "SIGTERM", "SIGTSTP"],
)]
fn report(event: &Event) {
    let signal = event.signal().expect("these hooks run for signals");
    match event.outcome() {
        None => eprintln!("pre {signal}, sent by {:?}", event.sender()),
        Some(outcome) => eprintln!("post {signal}: {outcome:?}"),
    }
}

#[endless::hook(pre = ["SIGQUIT", "SIGWINCH", "SIGALRM", "SIGIO", "SIGCONT"])]
fn hooked_only(event: &Event) {
    eprintln!("pre {}", event.signal().expect("these hooks run for signals"));
}

#[endless::hook(before_begin)]
fn begin(address: &Address) {
    eprintln!("about to accept on {address}");
}

#[endless::hook(ready)]
fn ready(event: &Event) {
    eprintln!("generation {} serves as PID {}", event.generation(), endless::pid());
}

#[endless::hook(drained)]
fn drained() {
    eprintln!("everything in flight is finished");
}

#[endless::hook(hammered)]
fn hammered(event: &Event) {
    eprintln!("not finished in time: {:?}", event.outcome());
}
