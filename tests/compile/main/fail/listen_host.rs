#[endless::main(listen = "http://localhost:4242")]
async fn main() -> axum::Router {
    axum::Router::new()
}
