#[endless::main(connect_info = "true")]
async fn main() {}
