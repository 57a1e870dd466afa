//! A program as large as services are: axum and rustls are linked, and what both need.

use axum::Router;
use axum::routing::get;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::ResolvesServerCertUsingSni;

#[endless::main(listen = "127.0.0.1:0")]
async fn main() -> Router {
    let tls = tls();
    Router::new()
        .route("/hello", get(|| async { "WORLD!" }))
        .route("/status", get(|| async { axum::Json(endless::status()) }))
        .route("/tls", get(move || async move { format!("{tls:?}") }))
}

/// Nobody is served with it; a program that is linked with it is started with it.
fn tls() -> ServerConfig {
    let nobody = ResolvesServerCertUsingSni::new();
    let builder = ServerConfig::builder_with_provider(ring::default_provider().into());
    let builder = builder.with_safe_default_protocol_versions().expect("ring has what both versions need");
    builder.with_no_client_auth().with_cert_resolver(std::sync::Arc::new(nobody))
}
