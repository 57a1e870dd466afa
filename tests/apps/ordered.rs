//! Hooks in a module: after those of the crate's root, whose file comes first, in the order of their lines.

pub(crate) fn say(hook: &str) {
    eprintln!("INFO app: ordered hook={hook}");
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
