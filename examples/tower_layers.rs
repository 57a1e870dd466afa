//! A stack of tower layers in front of a router: at most two requests at a time, whoever comes on top of them
//! is sent away, and none takes longer than a second.
//!
//! ```text
//! cargo run --example tower_layers    # the first lines say the PID
//! for i in 1 2 3; do curl -i "localhost:4242/sleep?ms=500" & done    # one of them: 503
//! curl -i "localhost:4242/sleep?ms=2000"                             # 504
//! ```

use std::time::Duration;

use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Router, routing::get};
use serde::Deserialize;
use tower::load_shed::error::Overloaded;
use tower::timeout::error::Elapsed;
use tower::{BoxError, ServiceBuilder};

#[tokio::main]
async fn main() -> endless::Result<()> {
    let routes = Router::new().route("/sleep", get(sleep));
    let service = ServiceBuilder::new()
        .map_result(answered)
        .load_shed()
        .concurrency_limit(2)
        .timeout(Duration::from_secs(1))
        .service(routes);
    endless::serve("127.0.0.1:4242", service).await
}

/// What the layers say, as statuses. Any other error goes on to endless, which answers 500 and logs it.
fn answered(result: Result<Response, BoxError>) -> Result<Response, BoxError> {
    result.or_else(|error| match error {
        error if error.is::<Overloaded>() => Ok(StatusCode::SERVICE_UNAVAILABLE.into_response()),
        error if error.is::<Elapsed>() => Ok(StatusCode::GATEWAY_TIMEOUT.into_response()),
        error => Err(error),
    })
}

#[derive(Deserialize)]
struct Milliseconds {
    ms: u64,
}

async fn sleep(Query(Milliseconds { ms }): Query<Milliseconds>) -> String {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    format!("slept {ms}\n")
}
