#[endless::hook(ready)]
async fn hook() -> Result<i32, String> {
    Ok(0)
}

fn main() {}
