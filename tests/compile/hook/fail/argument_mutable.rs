#[endless::hook(ready)]
fn hook(_: &mut endless::Event) {}

fn main() {}
