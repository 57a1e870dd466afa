#[endless::main(hammer_time = "never")]
async fn main() {}
