#[endless::hook(before_begn)]
fn hook() {}

fn main() {}
