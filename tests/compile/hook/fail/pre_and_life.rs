#[endless::hook(pre = "SIGHUP", ready)]
fn hook() {}

fn main() {}
