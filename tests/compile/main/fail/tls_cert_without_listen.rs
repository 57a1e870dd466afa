#[endless::main(tls_cert = "cert.pem", tls_key = "key.pem")]
async fn main() {}
