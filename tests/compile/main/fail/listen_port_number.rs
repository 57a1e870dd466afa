#[endless::main(listen = 8080)]
async fn main() -> axum::Router {
    axum::Router::new()
}
