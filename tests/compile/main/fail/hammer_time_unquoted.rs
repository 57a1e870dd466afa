#[endless::main(hammer_time = 30s)]
async fn main() {}
