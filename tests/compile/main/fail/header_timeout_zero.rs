#[endless::main(header_timeout = "0s")]
async fn main() {}
