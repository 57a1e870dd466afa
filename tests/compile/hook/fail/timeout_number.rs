#[endless::hook(ready, timeout = 10)]
async fn hook() {}

fn main() {}
