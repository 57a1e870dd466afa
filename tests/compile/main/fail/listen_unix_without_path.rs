#[endless::main(listen = "unix:")]
async fn main() -> axum::Router {
    axum::Router::new()
}
