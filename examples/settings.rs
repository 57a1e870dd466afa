//! Settings from three places: the attribute, the environment, which wins over it, and the code of one
//! server, which wins over both.
//!
//! ```text
//! cargo run --example settings
//! ENDLESS_HAMMER_TIME=5s ENDLESS_LAME_DUCK=1s cargo run --example settings
//! ENDLESS_HAMMER_TIME=soon cargo run --example settings     # status 2, and what is accepted
//! ```

use axum::{Router, routing::get};
use endless::{ConnectInfo, Server};

#[endless::main(hammer_time = "30s", lame_duck = "0s", readiness_path = "/ready", max_connections = 10_000)]
async fn main() -> endless::Result<()> {
    let public = Router::new().route("/hello", get(|| async { "WORLD!" }));
    let admin = Router::new().route("/status", get(|| async { axum::Json(endless::status()) })).route(
        "/who",
        get(|axum::Extension(info): axum::Extension<ConnectInfo>| async move { info.remote().to_string() }),
    );
    tokio::try_join!(
        Server::new("127.0.0.1:4242", public).serve(),
        Server::new("127.0.0.1:4243", admin).max_connections(10).backlog(16).connect_info(true).serve(),
    )?;
    Ok(())
}
