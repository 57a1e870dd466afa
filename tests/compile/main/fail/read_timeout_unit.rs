#[endless::main(read_timeout = "30 seconds")]
async fn main() {}
