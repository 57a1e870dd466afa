#[endless::hook(ready, crate = "not a path")]
fn hook() {}

fn main() {}
