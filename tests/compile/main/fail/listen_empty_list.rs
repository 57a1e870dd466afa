#[endless::main(listen = [])]
async fn main() -> axum::Router {
    axum::Router::new()
}
