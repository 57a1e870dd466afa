struct Failure;

#[endless::hook(ready)]
fn hook() -> Result<(), Failure> {
    Err(Failure)
}

fn main() {}
