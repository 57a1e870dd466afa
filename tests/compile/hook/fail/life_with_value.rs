#[endless::hook(ready = true)]
fn hook() {}

fn main() {}
