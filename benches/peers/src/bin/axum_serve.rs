//! axum as its documentation serves it.

use peers::{Arguments, Counting, router};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[tokio::main]
async fn main() {
    let listener = TcpListener::bind(Arguments::read().http1).await.expect("bound");
    axum::serve(listener, router()).await.expect("served");
}
