#[endless::hook("SIGHUP")]
fn hook() {}

fn main() {}
