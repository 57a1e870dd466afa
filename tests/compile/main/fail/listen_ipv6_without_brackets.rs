#[endless::main(listen = "::1:4242")]
async fn main() -> axum::Router {
    axum::Router::new()
}
