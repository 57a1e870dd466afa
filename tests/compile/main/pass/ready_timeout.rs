#[endless::main(ready_timeout = "1m")]
async fn main() {}
