#[endless::hook(post = "SIGCHLD")]
fn hook() {}

fn main() {}
