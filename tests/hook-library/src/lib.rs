//! A crate with hooks, which run in every program that links it: the first, one in the middle, and the last
//! of those that the tests' program has for `SIGUSR1`.

#[endless::hook(pre = "SIGUSR1", order = 10)]
fn library_last() {
    say("library_last");
}

#[endless::hook(pre = "SIGUSR1")]
fn library_plain() {
    say("library_plain");
}

#[endless::hook(pre = "SIGUSR1", order = -1)]
async fn library_first() {
    say("library_first");
}

/// In one write, so that what endless writes meanwhile does not come between its words.
fn say(hook: &str) {
    let line = format!("INFO app: ordered hook={hook}\n");
    eprint!("{line}");
}
