#[endless::hook(pre = ["SIGINT", SIGTERM])]
fn hook() {}

fn main() {}
