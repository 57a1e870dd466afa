//! Hooks in a module: after those of the crate's root, whose file comes first, in the order of their lines.

/// In one write, so that what endless writes meanwhile does not come between its words.
pub(crate) fn say(hook: &str) {
    let line = format!("INFO app: ordered hook={hook}\n");
    eprint!("{line}");
}

#[endless::hook(pre = "SIGUSR1", order = 5)]
fn module_late() {
    say("module_late");
}

#[endless::hook(pre = "SIGUSR1")]
async fn module_first() {
    say("module_first");
}

#[endless::hook(pre = "SIGUSR1")]
fn module_second() {
    say("module_second");
}
