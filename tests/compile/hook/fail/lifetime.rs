#[endless::hook(ready)]
fn hook<'a>(_: &'a endless::Event) {}

fn main() {}
