#[endless::main(supervise = "false")]
async fn main() {}
