//! A PID file for scripts: `kill -HUP $(cat endless.pid)` restarts whoever serves, `kill -TERM …` stops it.

use axum::{Router, routing::get};

#[endless::main(listen = "127.0.0.1:4242", pid_file = "endless.pid")]
async fn main() -> Router {
    Router::new().route("/hello", get(|| async { "WORLD!" }))
}
