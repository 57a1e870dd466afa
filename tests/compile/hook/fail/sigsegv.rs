#[endless::hook(pre = "SIGSEGV")]
fn hook() {}

fn main() {}
