#[endless::hook(pre = ["SIGHUP", "hup"])]
fn hook() {}

fn main() {}
