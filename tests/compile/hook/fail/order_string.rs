#[endless::hook(ready, order = "1")]
fn hook() {}

fn main() {}
