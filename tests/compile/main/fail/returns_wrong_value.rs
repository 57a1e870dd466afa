#[endless::main(listen = "127.0.0.1:4242")]
async fn main() -> axum::Router {
    "WORLD!"
}
