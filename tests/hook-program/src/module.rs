//! Hooks in a module that the root uses for something else, and a service without a framework.

use std::convert::Infallible;

use endless::HttpService;
use http::{Request, Response};

pub(crate) fn service() -> impl HttpService {
    endless::service_fn(async |_: Request<endless::Body>| {
        Ok::<_, Infallible>(Response::new("WORLD!".to_owned()))
    })
}

#[endless::hook(pre = "SIGUSR1")]
async fn module_plain() {
    say("module_plain");
}

#[endless::hook(post = "SIGUSR1")]
fn after() {
    say("after");
}

#[endless::hook(before_begin)]
fn before_begin() {
    say("before_begin");
}

#[endless::hook(ready)]
fn ready() {
    say("ready");
}

#[endless::hook(drained)]
fn drained() {
    say("drained");
}

/// In one write, so that what endless writes meanwhile does not come between its words.
pub(crate) fn say(hook: &str) {
    let line = format!("INFO app: ordered hook={hook}\n");
    eprint!("{line}");
}
