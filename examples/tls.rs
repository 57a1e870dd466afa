//! HTTPS, with HTTP/2 for who speaks it. The certificate is made at the first start, before it is read: by then
//! `main` has returned.
//!
//! ```text
//! cargo run --example tls
//! curl --cacert target/example-tls/cert.pem https://localhost:4242/hello
//! rm -r target/example-tls; kill -HUP PID    # the successor has another certificate
//! kill -USR1 PID                             # so has this process, when its files were renewed
//! ```

mod self_signed;

use std::error::Error;

use axum::{Router, routing::get};

#[endless::main(
    listen = "127.0.0.1:4242",
    tls_cert = "target/example-tls/cert.pem",
    tls_key = "target/example-tls/key.pem",
    tls_reload = "SIGUSR1"
)]
async fn main() -> Result<Router, Box<dyn Error + Send + Sync>> {
    self_signed::certificate("target/example-tls/cert.pem", "target/example-tls/key.pem")?;
    Ok(Router::new().route("/hello", get(|| async { "WORLD!" })))
}
