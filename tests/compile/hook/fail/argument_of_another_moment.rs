#[endless::hook(before_begin)]
fn hook(_: &endless::Event) {}

fn main() {}
