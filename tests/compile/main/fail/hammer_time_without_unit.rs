#[endless::main(hammer_time = "60")]
async fn main() {}
