#[endless::main(tls_reload = "SIGUSR3")]
async fn main() {}
