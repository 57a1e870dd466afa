//! The tests' program under plain `#[tokio::main]`, serving on every address of its command line.

mod routes;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    routes::follow_plan()?;
    let mut servings = tokio::task::JoinSet::new();
    for address in std::env::args().skip(1) {
        servings.spawn(endless::serve(address, routes::failing_at_error(routes::routes())));
    }
    while let Some(ended) = servings.join_next().await {
        ended??;
    }
    eprintln!("INFO app: returned pid={}", std::process::id());
    Ok(())
}
