#[endless::main(hammer_time =)]
async fn main() {}
