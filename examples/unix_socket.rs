//! A service on a unix socket: `curl --unix-socket endless.sock localhost/hello`.
//!
//! The file stays in place across restarts and is removed by a stop.

use axum::{Router, routing::get};

#[endless::main(listen = "unix:endless.sock")]
async fn main() -> Router {
    Router::new().route("/hello", get(|| async { "WORLD!" }))
}
