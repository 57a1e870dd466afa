#[endless::hook(ready)]
fn hook() -> i32 {
    0
}

fn main() {}
