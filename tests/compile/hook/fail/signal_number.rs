#[endless::hook(pre = 1)]
fn hook() {}

fn main() {}
