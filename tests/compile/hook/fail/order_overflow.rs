#[endless::hook(ready, order = 2147483648)]
fn hook() {}

fn main() {}
