#[endless::hook(ready)]
fn hook(_: endless::Event) {}

fn main() {}
