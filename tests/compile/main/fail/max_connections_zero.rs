#[endless::main(max_connections = 0)]
async fn main() {}
