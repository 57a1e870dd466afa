#[endless::hook(ready, drained)]
fn hook() {}

fn main() {}
