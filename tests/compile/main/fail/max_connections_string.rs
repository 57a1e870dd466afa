#[endless::main(max_connections = "100")]
async fn main() {}
