#[endless::hook(pre = "SIGKILL")]
fn hook() {}

fn main() {}
