#[endless::main(hammer_time = 30, idle_grace = 2)]
async fn main() {}
