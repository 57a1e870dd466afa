//! The same program under a plain `#[tokio::main]` of one thread: what it inherits, it asks for before anything
//! of endless runs.

mod routes;
mod udp;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), String> {
    udp::serve().await
}
