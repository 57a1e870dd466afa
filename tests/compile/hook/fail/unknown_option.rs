#[endless::hook(signal = "SIGHUP")]
fn hook() {}

fn main() {}
