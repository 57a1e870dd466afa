#[endless::main(listen = "127.0.0.1:4242", tls_cert = "cert.pem")]
async fn main() -> axum::Router {
    axum::Router::new()
}
