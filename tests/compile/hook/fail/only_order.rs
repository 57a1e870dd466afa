#[endless::hook(order = 1)]
fn hook() {}

fn main() {}
