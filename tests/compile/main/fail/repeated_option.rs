#[endless::main(hammer_time = "30s", idle_grace = "1s", hammer_time = "40s")]
async fn main() {}
