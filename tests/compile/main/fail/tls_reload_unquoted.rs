#[endless::main(tls_reload = usr1)]
async fn main() {}
