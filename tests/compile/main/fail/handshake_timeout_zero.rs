#[endless::main(handshake_timeout = "0s")]
async fn main() {}
