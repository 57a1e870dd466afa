#[endless::main(hammer_time = "500ms")]
async fn main() {}
