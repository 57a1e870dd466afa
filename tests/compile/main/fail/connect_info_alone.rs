#[endless::main(connect_info)]
async fn main() {}
