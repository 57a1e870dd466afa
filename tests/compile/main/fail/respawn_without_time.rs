#[endless::main(respawn = "5")]
async fn main() {}
