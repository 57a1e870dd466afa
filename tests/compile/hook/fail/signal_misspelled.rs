#[endless::hook(pre = "SIGHPU")]
fn hook() {}

fn main() {}
