//! The tests' program with a hook for every signal that is there for hooks alone.

mod routes;

use endless::Event;

#[endless::main(listen = "127.0.0.1:0")]
async fn main() -> Result<impl endless::HttpService, String> {
    routes::follow_plan()?;
    Ok(routes::failing_at_error(routes::routes()))
}

#[endless::hook(pre = ["SIGTSTP", "SIGQUIT", "SIGWINCH", "SIGALRM", "SIGIO", "SIGCONT"])]
fn note(event: &Event) {
    let signal = event.signal().map(|signal| signal.to_string()).unwrap_or_default();
    let sender = event.sender().map_or(0, |sender| sender.pid);
    let pid = std::process::id();
    routes::say(format!("INFO app: hook phase=pre signal={signal} sender={sender} pid={pid}"));
}
