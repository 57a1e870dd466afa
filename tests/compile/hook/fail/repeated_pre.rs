#[endless::hook(pre = "SIGHUP", pre = "SIGINT")]
fn hook() {}

fn main() {}
