#[endless::hook(ready)]
fn hook(_: &endless::Event, _: u8) {}

fn main() {}
