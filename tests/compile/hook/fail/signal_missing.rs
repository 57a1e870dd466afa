#[endless::hook(pre)]
fn hook() {}

fn main() {}
