#[endless::hook(ready)]
struct Hook;

fn main() {}
