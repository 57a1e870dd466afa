#[endless::main(tls_reload = "SIGHUP")]
async fn main() {}
