#[endless::main(hammer_time = "60 parsecs")]
async fn main() {}
