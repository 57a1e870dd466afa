#[endless::main(listen = "systemd:")]
async fn main() -> axum::Router {
    axum::Router::new()
}
