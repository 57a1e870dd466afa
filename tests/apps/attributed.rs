//! The tests' program under the attribute, serving by itself on every address of its command line, or as its
//! plan says, with hooks that say that they ran; on `ADDRESS=CERT,KEY` over TLS.

mod routes;

use std::time::Duration;

use endless::Event;
use tokio::task::{AbortHandle, JoinSet};

type Servings = JoinSet<endless::Result<()>>;

#[endless::main]
async fn main() -> Result<(), String> {
    routes::follow_plan()?;
    tokio::select! {
        served = serve_as_planned(std::env::args().skip(1).collect()) => served.map_err(|error| error.to_string())?,
        () = until_planned("fail") => return Err("as planned, late".to_owned()),
    }
    routes::say(format!("INFO app: returned pid={}", std::process::id()));
    if routes::plan() == "fail in the end" { Err("as planned, in the end".to_owned()) } else { Ok(()) }
}

/// `also ADDRESS`: one more; `only N`: the first N; `late`: the last one when the plan has changed. While they
/// serve, a plan of `add ADDRESS` adds one, and `drop` ends the last one.
async fn serve_as_planned(mut addresses: Vec<String>) -> endless::Result<()> {
    let mut servings = JoinSet::new();
    let plan = routes::plan();
    match plan.split_once(' ').unwrap_or((&plan, "")) {
        ("also" | "add", address) => addresses.push(address.to_owned()),
        ("only", count) => addresses.truncate(count.parse().expect("a count")),
        ("drop", _) => drop(addresses.pop()),
        ("late", _) => {
            let late = addresses.split_off(addresses.len() - 1);
            endless::hold_ready();
            serve(&mut servings, addresses);
            while routes::plan() == "late" {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            addresses = late;
        }
        _ => {}
    }
    let last = serve(&mut servings, addresses);
    endless::ready();
    serve_on(servings, last, plan).await
}

/// Until all have ended, as the plan changes meanwhile.
async fn serve_on(
    mut servings: Servings,
    last: Option<AbortHandle>,
    mut plan: String,
) -> endless::Result<()> {
    loop {
        tokio::select! {
            ended = servings.join_next() => match ended {
                Some(Err(dropped)) if dropped.is_cancelled() => {}
                Some(ended) => ended.expect("serving does not panic")?,
                None => return Ok(()),
            },
            changed = other_than(&plan) => {
                match changed.split_once(' ').unwrap_or((&changed, "")) {
                    ("add", address) => drop(serve(&mut servings, vec![address.to_owned()])),
                    ("drop", _) => last.iter().for_each(AbortHandle::abort),
                    _ => {}
                }
                plan = changed;
            }
        }
    }
}

async fn other_than(plan: &str) -> String {
    loop {
        let now = routes::plan();
        if now != plan {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// All are registered before the first is bound. Returns the last one's handle.
fn serve(servings: &mut Servings, addresses: Vec<String>) -> Option<AbortHandle> {
    let registered: Vec<_> = addresses.iter().map(|address| serve_one(address)).collect();
    registered.into_iter().map(|serving| servings.spawn(serving)).last()
}

fn serve_one(address: &str) -> endless::Serving {
    let service = routes::failing_at_error(routes::routes());
    let secured =
        address.split_once('=').and_then(|(address, files)| Some((address, files.split_once(',')?)));
    match secured {
        Some((address, (cert, key))) => endless::serve_tls(address, cert, key, service),
        None => endless::serve(address, service),
    }
}

async fn until_planned(plan: &str) {
    while routes::plan() != plan {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[endless::hook(pre = ["SIGTERM", "SIGINT"])]
fn before(event: &Event) {
    note("pre", event);
}

#[endless::hook(post = ["SIGTERM", "SIGINT", "SIGUSR2"])]
fn after(event: &Event) {
    note("post", event);
}

/// Slow, so that it would come too late if main did not wait for it.
#[endless::hook(post = "SIGHUP")]
async fn after_restart(event: &Event) {
    tokio::time::sleep(Duration::from_millis(500)).await;
    note("post", event);
}

#[endless::hook(ready)]
fn ready(event: &Event) {
    note("ready", event);
}

#[endless::hook(drained)]
fn drained(event: &Event) {
    note("drained", event);
}

fn note(phase: &str, event: &Event) {
    let signal = event.signal().map(|signal| signal.to_string()).unwrap_or_default();
    let outcome = event.outcome().map(|outcome| format!("{outcome:?}")).unwrap_or_default();
    let pid = std::process::id();
    routes::say(format!("INFO app: hook phase={phase} signal={signal} pid={pid} outcome={outcome:?}"));
}
