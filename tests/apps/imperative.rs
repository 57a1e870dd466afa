//! The tests' program under plain `#[tokio::main]`, serving on every address of its command line, or as its plan says.

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
    eprintln!("INFO app: returned pid={}", std::process::id());
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
    addresses.into_iter().for_each(|address| serve(&mut servings, address));
    servings
}

async fn serve_the_last_one_late(mut addresses: Vec<String>) -> Servings {
    let mut servings = Servings::new();
    let late = addresses.pop().expect("an address");
    endless::hold_ready();
    addresses.into_iter().for_each(|address| serve(&mut servings, address));
    while routes::plan() == "late" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    serve(&mut servings, late);
    endless::ready();
    servings
}

fn serve(servings: &mut Servings, address: String) {
    servings.spawn(endless::serve(address, routes::failing_at_error(routes::routes())));
}

/// Slow, so that it would come too late if `serve` did not wait for it.
#[endless::hook(post = "SIGTERM")]
async fn stopped() {
    tokio::time::sleep(Duration::from_millis(200)).await;
    eprintln!("INFO app: stopped pid={}", std::process::id());
}
