//! The smallest service: `curl localhost:4242/hello` answers `WORLD!`.

use axum::{Router, routing::get};

#[endless::main(listen = "127.0.0.1:4242")]
async fn main() -> Router {
    Router::new().route("/hello", get(|| async { "WORLD!" }))
}

#[endless::hook(ready)]
fn say_how() {
    let pid = endless::pid();
    eprintln!("restart: kill -HUP {pid}\nstop:    kill -TERM {pid}");
}
