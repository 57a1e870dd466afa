//! endless with the service that bare hyper has; `ENDLESS_SUPERVISE` says in which of the two ways.

use peers::{Arguments, Counting, answer};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[endless::main]
async fn main() -> endless::Result<()> {
    endless::serve(Arguments::read().http1, endless::service_fn(answer)).await
}
