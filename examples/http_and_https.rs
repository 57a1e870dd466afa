//! Two ports in one binary: HTTPS, and HTTP that sends everybody there.
//!
//! ```text
//! cargo run --example http_and_https
//! curl --location --cacert target/example-https/cert.pem http://localhost:4242/hello
//! ```

mod self_signed;

use std::error::Error;

use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Router, routing::get};

const CERT: &str = "target/example-https/cert.pem";
const KEY: &str = "target/example-https/key.pem";

#[endless::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    self_signed::certificate(CERT, KEY)?;
    let app = Router::new().route("/hello", get(|| async { "WORLD!" }));
    tokio::try_join!(
        endless::serve("127.0.0.1:4242", Router::new().fallback(to_https)),
        endless::serve_tls("127.0.0.1:4243", CERT, KEY, app),
    )?;
    Ok(())
}

/// The same again, at the other port.
async fn to_https(headers: HeaderMap, uri: Uri) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    match host.map(|host| host.strip_suffix(":4242").unwrap_or(host)) {
        Some(name) => Redirect::permanent(&format!("https://{name}:4243{uri}")).into_response(),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}
