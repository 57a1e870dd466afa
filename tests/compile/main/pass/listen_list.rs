#[endless::main(listen = [
    "127.0.0.1:4242",
    "localhost:4243",
    "[::1]:4244",
    ":4245",
    "unix:/tmp/app.sock",
    "systemd:http",
])]
async fn main() -> axum::Router {
    std::process::exit(0)
}
