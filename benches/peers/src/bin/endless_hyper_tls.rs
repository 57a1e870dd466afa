//! endless over TLS with the service that bare hyper has; `ENDLESS_SUPERVISE` says in which of the two ways.

use peers::{Arguments, Counting, answer};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[endless::main]
async fn main() -> endless::Result<()> {
    let arguments = Arguments::read();
    let (cert, key) = arguments.tls.expect("a certificate");
    endless::serve_tls(arguments.http1, cert, key, endless::service_fn(answer)).await
}
