#[endless::main(
    listen = "127.0.0.1:4242",
    tls_cert = "cert.pem",
    tls_key = "key.pem",
    tls_reload = "SIGUSR1",
    hammer_time = "30s",
    ready_timeout = "30s",
    idle_grace = "1s",
    lame_duck = "5s",
    readiness_path = "/ready",
    read_timeout = "30s",
    write_timeout = "never",
    header_timeout = "10s",
    idle_timeout = "2m",
    handshake_timeout = "5s",
    max_header_bytes = 65_536,
    max_connections = 10_000,
    backlog = 1024,
    connect_info = true,
    pid_file = "/tmp/app.pid",
    program = "/srv/current/bin/app",
    supervise = true,
    respawn = "5 in 10s",
    flavor = "multi_thread",
    worker_threads = 2,
    crate = "::endless"
)]
async fn main() -> axum::Router {
    std::process::exit(0)
}
