//! Two servers in one process, restarted and stopped together.

use axum::{Router, routing::get};

#[endless::main]
async fn main() -> endless::Result<()> {
    let public = Router::new().route("/hello", get(|| async { "WORLD!" }));
    let admin = Router::new().route("/status", get(|| async { axum::Json(endless::status()) }));
    tokio::try_join!(endless::serve("127.0.0.1:4242", public), endless::serve("127.0.0.1:4243", admin),)?;
    eprintln!("everything in flight is finished: clean up here");
    Ok(())
}
