#[endless::main(tls_reload = "SIGKILL")]
async fn main() {}
