#[endless::hook]
fn hook() {}

fn main() {}
