#[endless::hook(post = "restart")]
fn hook() {}

fn main() {}
