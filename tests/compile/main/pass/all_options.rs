#[endless::main(
    listen = "127.0.0.1:4242",
    hammer_time = "30s",
    ready_timeout = "30s",
    idle_grace = "1s",
    flavor = "multi_thread",
    worker_threads = 2,
    crate = "::endless"
)]
async fn main() -> axum::Router {
    std::process::exit(0)
}
