//! endless with the router that `axum::serve` has.

use peers::{Arguments, Counting, router};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[endless::main]
async fn main() -> endless::Result<()> {
    endless::serve(Arguments::read().http1, router()).await
}
