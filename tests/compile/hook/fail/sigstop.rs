#[endless::hook(pre = "stop")]
fn hook() {}

fn main() {}
