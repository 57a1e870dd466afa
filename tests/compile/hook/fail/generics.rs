#[endless::hook(ready)]
fn hook<T>() {}

fn main() {}
