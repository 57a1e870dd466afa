//! The tests' program in the declarative form, with hooks that say that they ran.

mod routes;

use endless::Event;

#[endless::main(listen = "127.0.0.1:0")]
async fn main() -> Result<impl endless::HttpService, String> {
    routes::follow_plan()?;
    Ok(routes::failing_at_error(routes::routes()))
}

#[endless::hook(pre = "SIGHUP")]
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

#[endless::hook(pre = ["usr1", "SIGTERM"], post = "SIGUSR1")]
async fn both(event: &Event) {
    note(if event.outcome().is_some() { "post" } else { "pre" }, event);
}

fn note(phase: &str, event: &Event) {
    let signal = event.signal().map(|signal| signal.to_string()).unwrap_or_default();
    let sender = event.sender().map_or(0, |sender| sender.pid);
    let outcome = event.outcome().map(|outcome| format!("{outcome:?}")).unwrap_or_default();
    eprintln!(
        "INFO app: hook phase={phase} signal={signal} sender={sender} pid={} generation={} outcome={outcome:?}",
        std::process::id(),
        event.generation(),
    );
}
