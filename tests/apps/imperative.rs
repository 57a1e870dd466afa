//! The tests' program under plain `#[tokio::main]`, serving on every address of its command line, or as its
//! plan says.

mod routes;

use std::time::Duration;

use tokio::task::JoinSet;

type Servings = JoinSet<endless::Result<()>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    routes::follow_plan()?;
    let mut servings = serve_as_planned(std::env::args().skip(1).collect()).await;
    while let Some(ended) = servings.join_next().await {
        ended??;
    }
    routes::say(format!("INFO app: returned pid={}", std::process::id()));
    Ok(())
}

/// `only N`: the first N addresses; `also ADDRESS`: one more; `late`: the last one when the plan has changed.
async fn serve_as_planned(mut addresses: Vec<String>) -> Servings {
    let mut servings = Servings::new();
    let plan = routes::plan();
    match plan.split_once(' ').unwrap_or((&plan, "")) {
        ("only", count) => addresses.truncate(count.parse().expect("a count")),
        ("also", address) => addresses.push(address.to_owned()),
        ("late", _) => return serve_the_last_one_late(addresses).await,
        _ => {}
    }
    serve(&mut servings, addresses);
    servings
}

async fn serve_the_last_one_late(mut addresses: Vec<String>) -> Servings {
    let mut servings = Servings::new();
    let late = addresses.pop().expect("an address");
    endless::hold_ready();
    serve(&mut servings, addresses);
    while routes::plan() == "late" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    serve(&mut servings, vec![late]);
    endless::ready();
    servings
}

/// All are registered before the first is bound, so that none is ready without the others.
fn serve(servings: &mut Servings, addresses: Vec<String>) {
    let service = || routes::failing_at_error(routes::routes());
    let registered: Vec<_> =
        addresses.into_iter().map(|address| endless::serve(address, service())).collect();
    for serving in registered {
        servings.spawn(serving);
    }
}

/// Slow, so that it would come too late if `serve` did not wait for it.
#[endless::hook(post = "SIGTERM")]
async fn stopped() {
    tokio::time::sleep(Duration::from_millis(200)).await;
    routes::say(format!("INFO app: stopped pid={}", std::process::id()));
}
