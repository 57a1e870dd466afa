#[endless::hook(ready, timeout = "never")]
async fn hook() {}

fn main() {}
