#[endless::hook(pre = "SIGHUP")]
fn hook(_: &str) {}

fn main() {}
