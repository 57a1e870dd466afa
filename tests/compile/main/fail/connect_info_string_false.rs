#[endless::main(connect_info = "false")]
async fn main() {}
