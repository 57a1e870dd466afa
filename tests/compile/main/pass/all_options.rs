#[endless::main(
    listen = "127.0.0.1:4242",
    hammer_time = "30s",
    ready_timeout = "30s",
    idle_grace = "1s",
    lame_duck = "5s",
    readiness_path = "/ready",
    max_connections = 10_000,
    backlog = 1024,
    connect_info = true,
    pid_file = "/tmp/app.pid",
    program = "/srv/current/bin/app",
    flavor = "multi_thread",
    worker_threads = 2,
    crate = "::endless"
)]
async fn main() -> axum::Router {
    std::process::exit(0)
}
