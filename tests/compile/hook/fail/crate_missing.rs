#[endless::hook(ready, crate = "::no_such_crate")]
fn hook() {}

fn main() {}
