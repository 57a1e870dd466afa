#[endless::hook(ready, order = 1, order = 2)]
fn hook() {}

fn main() {}
