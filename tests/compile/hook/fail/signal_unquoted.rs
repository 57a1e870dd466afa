#[endless::hook(pre = SIGHUP)]
fn hook() {}

fn main() {}
