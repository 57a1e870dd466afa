#[endless::main(hammer_time = 30)]
async fn main() {}
