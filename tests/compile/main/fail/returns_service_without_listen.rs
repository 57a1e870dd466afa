#[endless::main]
async fn main() -> axum::Router {
    axum::Router::new()
}
