#[endless::main(ready_timeout = "never")]
async fn main() {}
