//! The tests' program under the attribute, with a UDP service beside its HTTP service, and more to bequeath.

mod routes;
mod udp;

#[endless::main]
async fn main() -> Result<(), String> {
    udp::serve().await
}
